//! The one word for all containers together.

use std::fmt;

use serde_json::Value;

use super::Inputs;
use crate::pod::{Pod, RestartPolicy, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub(super) fn of(inputs: &Inputs<'_>, init: &[Value], main: &[Value]) -> Phase {
    match inputs.before["phase"].as_str() {
        Some("Failed") => return Phase::Failed,
        Some("Succeeded") => return Phase::Succeeded,
        _ => {}
    }
    // Nobody may believe that a pod is over while something of it runs.
    if inputs.is_over && inputs.observed.running().next().is_some() {
        return Phase::Running;
    }
    if inputs.failed.is_some() {
        return Phase::Failed;
    }
    let computed = computed(inputs.pod, init, main, inputs.is_over);
    // One that ended before its containers could tell anything has not succeeded.
    if inputs.is_ended && !computed.is_terminal() { Phase::Failed } else { computed }
}

fn computed(pod: &Pod, init: &[Value], main: &[Value], is_over: bool) -> Phase {
    let starting = starting(pod, init);
    let count = Count::of(main);
    if starting.failed > 0 && pod.restart_policy == RestartPolicy::Never {
        return Phase::Failed;
    }
    let sidecars_pending = starting.pending_sidecars > 0 && count.running + count.stopped == 0;
    if starting.pending > 0 || starting.failed > 0 || sidecars_pending || count.waiting > 0 {
        return Phase::Pending;
    }
    if count.running + starting.running_sidecars > 0 {
        return Phase::Running;
    }
    if count.stopped == 0 {
        return Phase::Pending;
    }
    let succeeded = count.stopped == count.succeeded;
    match (pod.restart_policy, is_over) {
        (_, true) if succeeded => Phase::Succeeded,
        (_, true) => Phase::Failed,
        (RestartPolicy::Always, _) => Phase::Running,
        _ if succeeded => Phase::Succeeded,
        (RestartPolicy::Never, _) => Phase::Failed,
        (RestartPolicy::OnFailure, _) => Phase::Running,
    }
}

#[derive(Default)]
struct Starting {
    pending: usize,
    failed: usize,
    pending_sidecars: usize,
    /// They end after the others, and the pod with them.
    running_sidecars: usize,
}

fn starting(pod: &Pod, init: &[Value]) -> Starting {
    let mut out = Starting::default();
    for (container, status) in pod.init.iter().zip(init) {
        let state = &status["state"];
        let last = &status["lastState"]["terminated"];
        if container.role == Role::Sidecar {
            let started = status["started"] == true || state["terminated"].is_object() || last.is_object();
            out.pending_sidecars += usize::from(!started);
            out.running_sidecars += usize::from(state["running"].is_object());
            continue;
        }
        match (state["terminated"]["exitCode"].as_i64(), last["exitCode"].as_i64()) {
            (Some(0), _) => {}
            (Some(_), _) => out.failed += 1,
            (None, Some(code)) if code != 0 && state["waiting"].is_object() => out.failed += 1,
            _ => out.pending += 1,
        }
    }
    out
}

#[derive(Default)]
struct Count {
    running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
}

impl Count {
    fn of(main: &[Value]) -> Count {
        let mut count = Count::default();
        for status in main {
            let state = &status["state"];
            if state["running"].is_object() {
                count.running += 1;
            } else if let Some(code) = state["terminated"]["exitCode"].as_i64() {
                count.stopped += 1;
                count.succeeded += usize::from(code == 0);
            } else if status["lastState"]["terminated"].is_object() {
                // Between two runs.
                count.stopped += 1;
            } else {
                count.waiting += 1;
            }
        }
        count
    }
}
