//! The name of a process that the keeper holds.
//!
//! It becomes a file name and a log field, so it is checked where it enters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name: two container ids with a separator fit.
const LONGEST: usize = 160;

/// A process's name: a container's id, or that of an exec in it. Letters, digits, `.`, `_`, `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId(String);

/// Why a text is no [`ProcessId`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a process id is 1 to {LONGEST} letters, digits, '.', '_' or '-', not starting with '.', got {0:?}")]
pub struct IdError(String);

impl ProcessId {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<ProcessId, IdError> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > LONGEST || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(IdError(name.chars().take(LONGEST).collect()));
        }
        Ok(ProcessId(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProcessId {
    type Error = IdError;

    fn try_from(name: String) -> Result<ProcessId, IdError> {
        ProcessId::new(name)
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> String {
        id.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_file_names() {
        let long = "a".repeat(LONGEST);
        for good in ["a", "4f-exec_1.2", long.as_str()] {
            assert_eq!(ProcessId::new(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        let longer = "a".repeat(LONGEST + 1);
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ä", "a\0", longer.as_str()] {
            assert!(ProcessId::new(bad).is_err(), "{bad:?}");
        }
    }
}
