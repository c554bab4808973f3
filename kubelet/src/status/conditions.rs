//! The conditions that the kubelet owns, with upstream's reasons and messages.

use api::time::format_seconds;
use serde_json::{Value, json};

use super::{Inputs, Phase};
use crate::pod::Role;
use crate::resize::{IN_PROGRESS, PENDING};

const TYPES_WHEN_OVER: (&str, &str) = ("PodCompleted", "PodFailed");

/// One condition before it is written.
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
    /// Where it is not the pod's own.
    generation: Option<i64>,
}

impl Condition {
    fn holds(kind: &'static str) -> Condition {
        Condition { kind, holds: true, reason: "", message: String::new(), generation: None }
    }

    fn fails(kind: &'static str, reason: &'static str, message: String) -> Condition {
        Condition { kind, holds: false, reason, message, generation: None }
    }
}

pub(super) fn of(inputs: &Inputs<'_>, phase: Phase, init: &[Value], main: &[Value]) -> Value {
    let containers = containers_ready(inputs, phase, init, main);
    let ready = ready(inputs, &containers);
    let conditions = [
        sandbox_ready(inputs),
        initialized(inputs, phase, init, main),
        ready,
        containers,
        Condition::holds("PodScheduled"),
    ];
    let conditions = conditions.into_iter().chain(resizes(inputs));
    conditions.map(|condition| written(inputs, condition)).collect()
}

/// Keeps the time of the last change of status.
fn written(inputs: &Inputs<'_>, condition: Condition) -> Value {
    let status = if condition.holds { "True" } else { "False" };
    let before = find(inputs.before, condition.kind);
    let since = match before {
        Some(before) if before["status"] == status && before["lastTransitionTime"].is_string() => {
            before["lastTransitionTime"].clone()
        }
        _ => format_seconds(inputs.now).into(),
    };
    let mut out = json!({
        "type": condition.kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since,
    });
    let generation = condition.generation.unwrap_or(inputs.pod.generation);
    if generation > 0 {
        out["observedGeneration"] = generation.into();
    }
    if !condition.reason.is_empty() {
        out["reason"] = condition.reason.into();
    }
    if !condition.message.is_empty() {
        out["message"] = condition.message.into();
    }
    out
}

/// What became of a resize; neither is there without one.
fn resizes<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = Condition> + use<'a> {
    let resize = inputs.resize;
    let pending = resize.pending.iter().map(|pending| Condition {
        reason: pending.wait.reason(),
        message: pending.message.clone(),
        generation: Some(pending.generation),
        ..Condition::holds(PENDING)
    });
    let progress = resize.progress.iter().map(|progress| Condition {
        reason: if progress.error.is_some() { "Error" } else { "" },
        message: progress.error.clone().unwrap_or_default(),
        generation: Some(progress.generation),
        ..Condition::holds(IN_PROGRESS)
    });
    pending.chain(progress)
}

fn find<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind)
}

/// The sandbox is there and has its network.
fn sandbox_ready(inputs: &Inputs<'_>) -> Condition {
    const KIND: &str = "PodReadyToStartContainers";
    let sandbox = inputs.observed.ready_sandbox();
    let holds = sandbox.is_some_and(|sandbox| inputs.pod.host_network || !sandbox.addresses.is_empty());
    Condition { holds, ..Condition::holds(KIND) }
}

fn initialized(inputs: &Inputs<'_>, phase: Phase, init: &[Value], main: &[Value]) -> Condition {
    const KIND: &str = "Initialized";
    if phase == Phase::Succeeded {
        return Condition { reason: TYPES_WHEN_OVER.0, ..Condition::holds(KIND) };
    }
    // One main container that was ever there says that all have been well.
    let was_there = |status: &Value| {
        status["state"]["running"].is_object()
            || status["lastState"]["terminated"].is_object()
            || (status["state"]["terminated"].is_object() && status["containerID"].is_string())
    };
    if main.iter().any(was_there) {
        return Condition::holds(KIND);
    }
    let missing: Vec<&str> = inputs
        .pod
        .init
        .iter()
        .zip(init)
        .filter(|(container, status)| match container.role {
            Role::Sidecar => status["started"] != true,
            _ => status["ready"] != true,
        })
        .map(|(container, _)| container.name.as_str())
        .collect();
    if missing.is_empty() {
        return Condition::holds(KIND);
    }
    let message = format!("containers with incomplete status: [{}]", missing.join(" "));
    Condition::fails(KIND, "ContainersNotInitialized", message)
}

fn containers_ready(inputs: &Inputs<'_>, phase: Phase, init: &[Value], main: &[Value]) -> Condition {
    const KIND: &str = "ContainersReady";
    match phase {
        Phase::Succeeded => return Condition::fails(KIND, TYPES_WHEN_OVER.0, String::new()),
        Phase::Failed => return Condition::fails(KIND, TYPES_WHEN_OVER.1, String::new()),
        _ => {}
    }
    let sidecars = inputs.pod.init.iter().zip(init).filter(|(container, _)| container.role == Role::Sidecar);
    let unready: Vec<&str> = sidecars
        .chain(inputs.pod.main.iter().zip(main))
        .filter(|(_, status)| status["ready"] != true)
        .map(|(container, _)| container.name.as_str())
        .collect();
    if unready.is_empty() {
        return Condition::holds(KIND);
    }
    Condition::fails(
        KIND,
        "ContainersNotReady",
        format!("containers with unready status: [{}]", unready.join(" ")),
    )
}

/// The containers, and what others have to say about the pod.
fn ready(inputs: &Inputs<'_>, containers: &Condition) -> Condition {
    const KIND: &str = "Ready";
    if !containers.holds {
        return Condition::fails(KIND, containers.reason, containers.message.clone());
    }
    let gates = inputs.pod.spec()["readinessGates"].as_array().into_iter().flatten();
    let objections: Vec<String> = gates
        .filter_map(|gate| gate["conditionType"].as_str())
        .filter_map(|gate| match find(inputs.before, gate) {
            None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
            Some(condition) if condition["status"] == "True" => None,
            Some(condition) => {
                let status = condition["status"].as_str().unwrap_or_default();
                Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {status}"))
            }
        })
        .collect();
    match objections.is_empty() {
        true => Condition::holds(KIND),
        false => Condition::fails(KIND, "ReadinessGatesNotReady", objections.join(", ")),
    }
}
