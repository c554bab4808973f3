//! Descriptors kept under a name for a daemon that comes back: its listening sockets.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use keeper_api::{Failure, FailureKind};

/// Names at most.
const MOST_NAMES: usize = 64;
/// Descriptors under one name at most.
const MOST_PER_NAME: usize = 16;
/// The longest name.
const LONGEST_NAME: usize = 256;

/// The store.
#[derive(Debug, Default)]
pub struct Stored(BTreeMap<String, Vec<OwnedFd>>);

impl Stored {
    /// Keeps descriptors in place of what is there.
    pub fn put(&mut self, name: String, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        let refuse = |kind, message: String| Err(Failure { kind, message });
        if name.is_empty() || name.len() > LONGEST_NAME || descriptors.is_empty() {
            return refuse(
                FailureKind::Request,
                "a name of 1 to 256 bytes and a descriptor are needed".into(),
            );
        }
        if descriptors.len() > MOST_PER_NAME {
            return refuse(FailureKind::Full, format!("at most {MOST_PER_NAME} descriptors under one name"));
        }
        if !self.0.contains_key(&name) && self.0.len() >= MOST_NAMES {
            return refuse(FailureKind::Full, format!("the keeper stores {MOST_NAMES} names already"));
        }
        self.0.insert(name, descriptors);
        Ok(())
    }

    /// What is kept under a name.
    pub fn get(&self, name: &str) -> Vec<BorrowedFd<'_>> {
        self.0.get(name).into_iter().flatten().map(AsFd::as_fd).collect()
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Everything, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[OwnedFd])> {
        self.0.iter().map(|(name, descriptors)| (name.as_str(), descriptors.as_slice()))
    }
}
