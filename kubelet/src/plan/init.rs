//! Init containers: which one is next, and which sidecars have to run again.
//!
//! Read backwards: the newest container there is tells how far the pod has come, because older ones may have been
//! collected meanwhile. Only containers of the newest sandbox count: a new sandbox begins anew.

use super::{Cause, Desired, Step, announced, is_change, kill_unknown, reason_to_kill, start, start_or_wait};
use crate::observed::{Observed, ObservedContainer, State};
use crate::pod::{Container, RestartPolicy, Role};
use crate::probes::ProbeKind;

pub struct InitPlan {
    pub steps: Vec<Step>,
    /// Main containers may start.
    pub is_done: bool,
    /// An init container failed for good.
    pub failed: bool,
}

pub fn plan(desired: &Desired<'_>, observed: &Observed) -> InitPlan {
    let pod = desired.pod;
    let mut out = InitPlan { steps: Vec::new(), is_done: pod.init.is_empty(), failed: false };
    if pod.init.is_empty() {
        return out;
    }
    let main_is_there = |container: &Container| {
        let state = in_sandbox(observed, &container.name).map(|latest| latest.state);
        matches!(state, Some(State::Running | State::Created | State::Exited))
    };
    // A main container in this sandbox means that every init container has ended well before.
    out.is_done = pod.main.iter().any(main_is_there);
    let mut passed = out.is_done;
    for (index, container) in pod.init.iter().enumerate().rev() {
        let is_last = index + 1 == pod.init.len();
        let Some(latest) = in_sandbox(observed, &container.name) else {
            if passed && container.role == Role::Sidecar {
                out.steps.push(start(desired.pod, container, observed.latest(&container.name)));
            }
            continue;
        };
        if passed && container.role == Role::Init {
            continue;
        }
        let progress = step(desired, container, latest, &mut out);
        match progress {
            Progress::Waits => {}
            Progress::Failed => return InitPlan { steps: Vec::new(), is_done: false, failed: true },
            Progress::Done if is_last => out.is_done = true,
            Progress::Done if !passed => {
                let next = &pod.init[index + 1];
                out.steps.push(start_or_wait(desired, next, observed.latest(&next.name)));
            }
            Progress::Done => {}
        }
        passed = true;
    }
    if !passed {
        let first = &pod.init[0];
        out.steps.push(start_or_wait(desired, first, observed.latest(&first.name)));
    }
    // Collected from the last to the first; they start in order.
    out.steps.reverse();
    out
}

enum Progress {
    /// The next one may start.
    Done,
    Waits,
    Failed,
}

fn step(
    desired: &Desired<'_>,
    container: &Container,
    latest: &ObservedContainer,
    out: &mut InitPlan,
) -> Progress {
    match (container.role, latest.state) {
        (Role::Sidecar, State::Running) => running_sidecar(desired, container, latest, out),
        (_, State::Running) => Progress::Waits,
        (_, State::Created) => {
            out.steps.push(start(desired.pod, container, Some(latest)));
            Progress::Waits
        }
        (Role::Sidecar, State::Exited) => {
            out.steps.push(start_or_wait(desired, container, Some(latest)));
            // One that has started before does not hold up the pod, as its successor is there.
            Progress::Waits
        }
        (_, State::Exited) if latest.status.exit_code == 0 => Progress::Done,
        (Role::Sidecar, State::Unknown) => {
            out.steps.push(start(desired.pod, container, Some(latest)));
            out.steps.push(kill_unknown(container, latest));
            Progress::Waits
        }
        _ if desired.pod.restart_policy == RestartPolicy::Never => Progress::Failed,
        (_, State::Unknown) => {
            out.steps.push(start(desired.pod, container, Some(latest)));
            out.steps.push(kill_unknown(container, latest));
            Progress::Waits
        }
        _ => {
            out.steps.push(start_or_wait(desired, container, Some(latest)));
            Progress::Waits
        }
    }
}

fn running_sidecar(
    desired: &Desired<'_>,
    container: &Container,
    running: &ObservedContainer,
    out: &mut InitPlan,
) -> Progress {
    if let Some(kill) = reason_to_kill(desired, container, running, "Init container") {
        let startup = matches!(kill, Step::Kill { cause: Cause::StartupProbe, .. });
        // Collected backwards. Others start once they are seen to have ended.
        if is_change(&kill) {
            out.steps.push(start(desired.pod, container, Some(running)));
        }
        out.steps.push(announced(kill, true));
        return if startup { Progress::Waits } else { Progress::Done };
    }
    let has_started = !container.value["startupProbe"].is_object()
        || desired.verdicts.of(&running.id, ProbeKind::Startup) == Some(true);
    if has_started { Progress::Done } else { Progress::Waits }
}

/// The newest container of a name in the newest sandbox.
fn in_sandbox<'a>(observed: &'a Observed, name: &str) -> Option<&'a ObservedContainer> {
    let sandbox = observed.sandboxes.first()?;
    observed.latest(name).filter(|latest| latest.sandbox == sandbox.id)
}
