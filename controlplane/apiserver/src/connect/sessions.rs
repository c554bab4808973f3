//! Streams that outlive their request: how many there may be, and how they end with the server.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The most streams at once.
const MOST_SESSIONS: usize = 4096;

/// The streams that are spliced now.
#[derive(Debug)]
pub struct Sessions {
    tracker: TaskTracker,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Sessions {
    /// Streams that end when `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Sessions {
        let places = Arc::new(Semaphore::new(MOST_SESSIONS));
        Sessions { tracker: TaskTracker::new(), places, stopping: stopping.child_token() }
    }

    /// A place for one more stream; none where there are too many.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Runs a stream until it ends or the server does.
    pub fn run(&self, place: OwnedSemaphorePermit, session: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            tokio::select! { () = session => {}, () = stopping.cancelled() => {} }
            drop(place);
        });
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}
