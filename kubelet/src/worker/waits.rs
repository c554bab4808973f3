//! Containers that do not start yet: why, as users see it, and when they are tried again.

use client::EventKind;
use tokio::time::Instant;

use super::Worker;
use crate::backoff::go_duration;
use crate::observed;
use crate::plan::{self, Step};
use crate::status::Waiting;

impl Worker {
    /// A container that nothing is to be done for waits no more: its start was answered with an error and yet happened.
    pub(super) fn forget_waiting(&mut self, waits: &[Step], steps: &[Step]) {
        let is_due = |name: &String| {
            waits.iter().chain(steps).any(|step| match step {
                Step::Start { container, .. } | Step::Wait { container, .. } => container == name,
                Step::CreateSandbox { .. } | Step::StopSandbox { .. } => true,
                _ => false,
            })
        };
        self.waiting.retain(|name, _| is_due(name) || self.held.contains_key(name));
    }

    /// Takes out what failed a moment ago.
    pub(super) fn leave_held(&mut self, steps: &mut Vec<Step>) {
        let now = Instant::now();
        self.held.retain(|_, at| *at > now);
        if let Some(first) = self.held.values().min() {
            self.wake_in(first.duration_since(now));
        }
        steps.retain(|step| match step {
            Step::Start { container, .. } => !self.held.contains_key(container),
            _ => true,
        });
    }

    /// Shows a container that waits to be restarted.
    pub(super) fn wait(&mut self, step: Step) {
        let Step::Wait { container, whole, left } = step else { return };
        self.wake_in(left);
        let pod = self.pod.clone();
        let shown = format!("{}_{}({})", pod.key.name, pod.key.namespace, pod.uid);
        let message =
            format!("back-off {} restarting failed container={container} pod={shown}", go_duration(whole));
        let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message };
        if self.waiting.get(&container) == Some(&waiting) {
            return;
        }
        if let Some(known) = pod.container(&container) {
            let text = format!("Back-off restarting failed container {container} in pod {shown}");
            self.context.events.record(pod.container_reference(known), EventKind::Warning, "BackOff", text);
        }
        self.waiting.insert(container, waiting);
    }

    pub(super) fn count_restarts(&mut self, steps: &[Step]) {
        let now = (self.context.client.surroundings().now)();
        for step in steps {
            let Step::Start { container, .. } = step else { continue };
            let latest =
                self.observed.latest(container).filter(|latest| latest.state == observed::State::Exited);
            if let (Some(known), Some(ended)) =
                (self.pod.container(container), latest.and_then(plan::ended_at))
            {
                self.backoffs.count(&plan::restart_key(&self.pod, known), ended, now);
            }
        }
    }
}
