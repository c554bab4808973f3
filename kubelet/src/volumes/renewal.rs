//! When pods are to be looked at though nothing changed: tokens grow old, and some objects have no watch.
//!
//! One task for all pods; it sleeps until the earliest time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::pod::PodUid;

/// Times by pod.
pub struct Renewals {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    due: Mutex<BTreeMap<PodUid, Instant>>,
    wake: Notify,
}

impl Drop for Renewals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Renewals {
    /// `tell` is called with each pod when its time has come, once.
    pub fn start(tell: impl Fn(PodUid) + Send + 'static) -> Renewals {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(shared.clone(), tell));
        Renewals { shared, task }
    }

    /// The next time for a pod; none forgets it.
    pub fn set(&self, pod: &PodUid, due: Option<Instant>) {
        match due {
            Some(at) => drop(self.shared.due().insert(pod.clone(), at)),
            None => drop(self.shared.due().remove(pod)),
        }
        self.shared.wake.notify_one();
    }
}

async fn run(shared: Arc<Shared>, tell: impl Fn(PodUid) + Send + 'static) {
    loop {
        let next = shared.due().values().min().copied();
        match next {
            None => shared.wake.notified().await,
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at) => {
                    for pod in shared.take_due(Instant::now()) {
                        tell(pod);
                    }
                }
                () = shared.wake.notified() => {}
            },
        }
    }
}

impl Shared {
    fn due(&self) -> std::sync::MutexGuard<'_, BTreeMap<PodUid, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_due(&self, now: Instant) -> Vec<PodUid> {
        let mut due = self.due();
        let pods: Vec<PodUid> =
            due.iter().filter(|(_, at)| **at <= now).map(|(pod, _)| pod.clone()).collect();
        for pod in &pods {
            due.remove(pod);
        }
        pods
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pods_are_told_in_time() {
        let (send, mut told) = tokio::sync::mpsc::unbounded_channel();
        let renewals = Renewals::start(move |pod| drop(send.send(pod)));
        let (a, b, c) = (PodUid::new("a"), PodUid::new("b"), PodUid::new("c"));
        let begun = Instant::now();
        renewals.set(&a, Some(begun + Duration::from_secs(60)));
        renewals.set(&b, Some(begun + Duration::from_secs(10)));
        renewals.set(&c, Some(begun + Duration::from_secs(5)));
        renewals.set(&c, None);
        for (pod, seconds) in [(b, 10), (a, 60)] {
            assert_eq!(told.recv().await, Some(pod));
            assert_eq!(begun.elapsed().as_secs(), seconds);
        }
    }
}
