//! Gives pods the shorter way of a link in the place of their filters, one program at a time, while no pod comes.

use std::time::Duration;

use datapath::{Datapath, DatapathError};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::failure::chain;

/// After the last pod that came.
const QUIET: Duration = Duration::from_secs(1);
/// Between two programs: each holds the kernel's lock of all links for some 15 ms.
const SPACING: Duration = Duration::from_millis(100);

/// One is under way at most.
#[derive(Debug)]
pub struct Promoter {
    due: Option<Instant>,
    running: JoinSet<Result<bool, DatapathError>>,
}

impl Promoter {
    /// Pods of an earlier run may wait for it.
    pub fn new() -> Promoter {
        Promoter { due: Some(Instant::now() + QUIET), running: JoinSet::new() }
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A pod has come.
    pub fn put_off(&mut self) {
        self.due = Some(Instant::now() + QUIET);
    }

    /// Begins with one program.
    pub fn begin(&mut self, datapath: Option<Datapath>) {
        self.due = None;
        let Some(datapath) = datapath.filter(|_| self.running.is_empty()) else { return };
        self.running.spawn_blocking(move || datapath.promote());
    }

    /// The end of the one that is under way.
    pub async fn ended(&mut self) -> Option<Result<Result<bool, DatapathError>, JoinError>> {
        self.running.join_next().await
    }

    /// Goes on if there may be more.
    pub fn go_on(&mut self, outcome: Result<Result<bool, DatapathError>, JoinError>) {
        match outcome {
            Ok(Ok(true)) => self.due = self.due.or(Some(Instant::now() + SPACING)),
            Ok(Ok(false)) => {}
            // The filters are there and serve; the next pod is a reason to try again.
            Ok(Err(error)) => tracing::warn!(error = %chain(&error), "pods' packets keep to the longer way"),
            Err(error) => tracing::warn!(%error, "pods' packets keep to the longer way"),
        }
    }

    pub async fn end(mut self) {
        // A program that is half way there is waited for.
        while let Some(outcome) = self.running.join_next().await {
            self.go_on(outcome);
        }
    }
}
