//! What to do next for a pod that is to run. Pure and total.
//!
//! Planned again after every step that changed something, so a plan never says what follows from its own steps: a
//! sandbox is made first, and only the next plan, which sees it, starts containers.
//!
//! ```text
//! no sandbox, or it is outdated  -> StopSandbox, CreateSandbox
//! init containers                -> one after the other; sidecars run on, the next one starts once they have started
//! a resize was granted           -> Resize, Kill what has to start anew for it (`plan/resize.rs`)
//! main and ephemeral containers  -> Kill what failed its probe or changed, Start what is not there
//! nothing runs, nothing starts   -> End
//! ```
//!
//! Not here: deletion, which only takes away (`worker/terminate.rs`).
//!
//! Reference: upstream's `computePodActions`; KEP-753 for sidecars.

mod init;
mod resize;
mod restart;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use crate::backoff::Backoffs;
use crate::container_config::Sizes;
use crate::labels;
use crate::observed::{Observed, ObservedContainer, State};
use crate::pod::{Container, Pod, RestartPolicy};
use crate::probes::ProbeKind;
use crate::resize::Given;
use crate::verdicts::Verdicts;

pub use restart::{ended_at, is_wanted, restart_key};

/// What the pod asks for, and what decides when.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    pub pod: &'a Pod,
    pub verdicts: &'a Verdicts,
    pub backoffs: &'a Backoffs,
    /// What has been given of a resize that was granted.
    pub resize: Option<&'a Given>,
    pub now: Timestamp,
}

/// Why a container is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    LivenessProbe,
    StartupProbe,
    DefinitionChanged,
    /// Its new size asks for it.
    Resize,
    /// The runtime does not know whether it runs.
    Unknown,
}

/// One action. Doing it twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ends every container and the network of a sandbox that is not, or no longer, what the pod asks for.
    StopSandbox { id: String },
    /// Makes a sandbox.
    CreateSandbox { attempt: u32 },
    /// Stops one container.
    Kill { container: String, id: String, cause: Cause, message: String, grace_seconds: Option<i64> },
    /// Stops the resize where the pod already uses so much.
    CheckPodMemory { limit: i64 },
    /// Stops the resize where the container already uses so much.
    CheckMemory { container: String, id: String, limit: i64 },
    /// Gives the pod's cgroup the larger of what it has and what it shall have.
    RaisePod,
    /// Changes a container that runs.
    Resize { container: String, id: String, sizes: Sizes },
    /// Gives the pod's cgroup what it shall have.
    SettlePod,
    /// Pulls the image if need be, makes the container and starts it.
    Start { container: String, attempt: u32 },
    /// Not yet: it ended too often.
    Wait { container: String, whole: Duration, left: Duration },
    /// Nothing is left to run: ends the sandbox and with it the pod.
    End,
}

/// What happens next; empty when all is as it shall be.
pub fn plan(desired: &Desired<'_>, observed: &Observed) -> Vec<Step> {
    let pod = desired.pod;
    if let Some(outdated) = outdated_sandbox(pod, observed) {
        return replace_sandbox(desired, observed, outdated);
    }
    let mut steps = Vec::new();
    for container in &pod.ephemeral {
        if observed.latest(&container.name).is_none() {
            steps.push(Step::Start { container: container.name.clone(), attempt: 0 });
        }
    }
    let init = init::plan(desired, observed);
    if init.failed {
        return vec![Step::End];
    }
    if !init.is_done {
        steps.extend(init.steps);
        steps.extend(resize::plan(desired, observed));
        return in_order(steps);
    }
    let main = main_steps(desired, observed);
    if !main.any_kept && !main.any_to_come {
        return vec![Step::End];
    }
    steps.extend(init.steps);
    steps.extend(main.steps);
    steps.extend(resize::plan(desired, observed));
    in_order(steps)
}

/// What is killed makes room before anything grows or starts.
fn in_order(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by_key(|step| match step {
        Step::Kill { .. } => 0,
        step if step.is_of_resize() => 1,
        _ => 2,
    });
    steps
}

/// Whether a plan that has this step is not through with a resize.
pub fn is_for_resize(step: &Step) -> bool {
    step.is_of_resize()
        || matches!(step, Step::Kill { cause: Cause::Resize, .. } | Step::CreateSandbox { .. } | Step::End)
}

impl Step {
    /// One of those that change what runs.
    pub fn is_of_resize(&self) -> bool {
        matches!(
            self,
            Step::CheckPodMemory { .. }
                | Step::CheckMemory { .. }
                | Step::RaisePod
                | Step::Resize { .. }
                | Step::SettlePod
        )
    }
}

/// Why the newest sandbox, if any, is not the one to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outdated {
    attempt: u32,
    /// The ones to take away first.
    ids: Vec<String>,
}

fn outdated_sandbox(pod: &Pod, observed: &Observed) -> Option<Outdated> {
    let Some(newest) = observed.sandboxes.first() else {
        return Some(Outdated { attempt: 0, ids: Vec::new() });
    };
    let ready = observed.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    let is_current = ready == 1
        && newest.ready
        && newest.host_network == pod.host_network
        && (pod.host_network || !newest.addresses.is_empty());
    if is_current {
        return None;
    }
    let stops = observed.sandboxes.iter().filter(|sandbox| {
        let alive = |container: &ObservedContainer| {
            container.sandbox == sandbox.id && matches!(container.state, State::Running | State::Unknown)
        };
        sandbox.ready || observed.containers.iter().any(alive)
    });
    Some(Outdated { attempt: newest.attempt + 1, ids: stops.map(|sandbox| sandbox.id.clone()).collect() })
}

fn replace_sandbox(desired: &Desired<'_>, observed: &Observed, outdated: Outdated) -> Vec<Step> {
    let pod = desired.pod;
    // A pod that never restarts and has run something is over with its sandbox.
    if pod.restart_policy == RestartPolicy::Never && outdated.attempt > 0 && !observed.containers.is_empty() {
        return vec![Step::End];
    }
    let wanted = |container: &Container| {
        let succeeded = observed.latest(&container.name).is_some_and(ended_well);
        !(pod.restart_policy == RestartPolicy::OnFailure && succeeded)
    };
    let any_created = pod.main.iter().any(|container| observed.latest(&container.name).is_some());
    if any_created && !pod.main.iter().any(wanted) {
        return vec![Step::End];
    }
    let mut steps: Vec<Step> = outdated.ids.into_iter().map(|id| Step::StopSandbox { id }).collect();
    steps.push(Step::CreateSandbox { attempt: outdated.attempt });
    steps
}

fn ended_well(container: &ObservedContainer) -> bool {
    container.state == State::Exited && container.status.exit_code == 0
}

struct MainSteps {
    steps: Vec<Step>,
    any_kept: bool,
    /// Something starts now or later, or is being ended.
    any_to_come: bool,
}

fn main_steps(desired: &Desired<'_>, observed: &Observed) -> MainSteps {
    let mut out = MainSteps { steps: Vec::new(), any_kept: false, any_to_come: false };
    for container in &desired.pod.main {
        let latest = observed.latest(&container.name);
        match latest.filter(|latest| latest.state == State::Running) {
            Some(running) => match reason_to_kill(desired, container, running, "Container") {
                None => out.any_kept = true,
                Some(kill) => {
                    let again = is_restarted(desired.pod, container, &kill);
                    let changed = is_change(&kill);
                    out.steps.push(announced(kill, again));
                    // Others start once they are seen to have ended, after their back-off.
                    if changed {
                        out.steps.push(start(desired.pod, container, Some(running)));
                    }
                }
            },
            None if is_wanted(desired.pod, container, latest) => {
                if let Some(lost) = latest.filter(|latest| latest.state == State::Unknown) {
                    out.steps.push(kill_unknown(container, lost));
                }
                out.steps.push(start_or_wait(desired, container, latest));
            }
            None => {}
        }
    }
    out.any_to_come = !out.steps.is_empty();
    out
}

/// A reason to kill a container that runs.
fn reason_to_kill(
    desired: &Desired<'_>,
    container: &Container,
    running: &ObservedContainer,
    noun: &str,
) -> Option<Step> {
    let kill = |cause, what: &str, grace_seconds| Step::Kill {
        container: container.name.clone(),
        id: running.id.clone(),
        cause,
        message: format!("{noun} {} {what}", container.name),
        grace_seconds,
    };
    let hash = running.status.annotations.get(labels::HASH);
    if hash.is_some_and(|hash| *hash != labels::hash(container)) {
        return Some(kill(Cause::DefinitionChanged, "definition changed", None));
    }
    if let Some(failed) = desired.verdicts.failure(&running.id, ProbeKind::Liveness) {
        return Some(kill(Cause::LivenessProbe, "failed liveness probe", failed.grace_seconds));
    }
    if let Some(failed) = desired.verdicts.failure(&running.id, ProbeKind::Startup) {
        return Some(kill(Cause::StartupProbe, "failed startup probe", failed.grace_seconds));
    }
    resize::restart(desired, container, running)
}

fn kill_unknown(container: &Container, lost: &ObservedContainer) -> Step {
    Step::Kill {
        container: container.name.clone(),
        id: lost.id.clone(),
        cause: Cause::Unknown,
        message: "Container is in \"unknown\" state, try killing it before restart".to_owned(),
        grace_seconds: None,
    }
}

/// Whether a killed container comes back.
fn is_restarted(pod: &Pod, container: &Container, kill: &Step) -> bool {
    is_change(kill) || restart::policy(pod, container) != RestartPolicy::Never
}

fn is_change(kill: &Step) -> bool {
    matches!(kill, Step::Kill { cause: Cause::DefinitionChanged | Cause::Resize, .. })
}

fn announced(kill: Step, again: bool) -> Step {
    match kill {
        Step::Kill { container, id, cause, message, grace_seconds } if again && cause != Cause::Resize => {
            let message = format!("{message}, will be restarted");
            Step::Kill { container, id, cause, message, grace_seconds }
        }
        kill => kill,
    }
}

fn start(pod: &Pod, container: &Container, latest: Option<&ObservedContainer>) -> Step {
    let attempt = match latest {
        // One that was made and never started has not run: its attempt is made again, in its place.
        Some(latest) => latest.attempt + u32::from(latest.state != State::Created),
        None => forgotten(pod, container),
    };
    Step::Start { container: container.name.clone(), attempt }
}

/// The attempt of a container that the runtime does not know: after a reboot the API still counts its restarts.
fn forgotten(pod: &Pod, container: &Container) -> u32 {
    let known = pod.container_status(container);
    let counted = known["restartCount"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let has_run = known["state"]["running"].is_object() || known["state"]["terminated"].is_object();
    counted + u32::from(has_run)
}

fn start_or_wait(desired: &Desired<'_>, container: &Container, latest: Option<&ObservedContainer>) -> Step {
    let key = restart_key(desired.pod, container);
    let ended = latest.filter(|latest| latest.state == State::Exited).and_then(ended_at);
    let waits = ended.and_then(|ended| desired.backoffs.waits(&key, ended, desired.now));
    match waits {
        Some((whole, left)) => Step::Wait { container: container.name.clone(), whole, left },
        None => start(desired.pod, container, latest),
    }
}
