//! When a connection last carried anything, and how to wait until that is too long ago.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Touched by a connection's tasks, watched by one of them.
pub struct Activity {
    born: Instant,
    /// Milliseconds after `born`.
    last: AtomicU64,
}

impl Activity {
    pub fn new() -> Self {
        Activity { born: Instant::now(), last: AtomicU64::new(0) }
    }

    pub fn touch(&self) {
        self.last.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Comes back, with the same limit, when nothing was touched for that long. No limit never does.
    pub async fn idle_for(&self, limit: Option<Duration>) -> Duration {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let before = self.last.load(Ordering::Relaxed);
            sleep_until(self.born + Duration::from_millis(before) + limit).await;
            if self.last.load(Ordering::Relaxed) == before {
                return limit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_silence_ends_it() {
        let limit = Duration::from_millis(120);
        let activity = Activity::new();
        let start = Instant::now();
        let busy = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(40)).await;
                activity.touch();
            }
        };
        tokio::join!(busy, activity.idle_for(Some(limit)));
        assert!(start.elapsed() >= Duration::from_millis(300));
    }
}
