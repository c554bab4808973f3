//! One at a time per key: the second pull of a layer waits for the first and then finds it done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::digest::Digest;

/// Who unpacks what.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

// === impl Turns ===

impl Turns {
    /// Waits for the turn.
    pub async fn wait(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Those nobody holds or waits for.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(digest.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }
}
