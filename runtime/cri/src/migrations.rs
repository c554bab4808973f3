//! The kernel is asked ahead of time for what the start of a container would wait for: see `sys::cgroup`'s `warm`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sys::cgroup::Layout;
use tokio_util::task::TaskTracker;

/// Asks when a container is expected soon, one question at a time.
#[derive(Debug)]
pub struct Migrations {
    layout: Arc<Layout>,
    /// Whoever stops waits for a question that is under way.
    tasks: TaskTracker,
    asking: Arc<AtomicBool>,
}

impl Migrations {
    pub fn new(layout: Arc<Layout>, tasks: TaskTracker) -> Migrations {
        Migrations { layout, tasks, asking: Arc::default() }
    }

    /// Does not wait. Called after cgroups were made: making them waits for the answer.
    pub fn expect(&self) {
        if !self.layout.migrates() || self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (layout, asking) = (self.layout.clone(), self.asking.clone());
        self.tasks.spawn_blocking(move || {
            if let Err(error) = layout.warm_migrations() {
                tracing::debug!(%error, "containers will wait for the kernel as they start");
            }
            asking.store(false, Ordering::Release);
        });
    }
}
