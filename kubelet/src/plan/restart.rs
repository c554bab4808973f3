//! Whether a container that does not run is started. Pure.
//!
//! Reference: upstream's `ShouldContainerBeRestarted`; KEP-5307 for rules of single containers.

use jiff::Timestamp;
use serde_json::Value;

use crate::labels;
use crate::observed::{ObservedContainer, State};
use crate::pod::{Container, Pod, RestartPolicy, Role};

/// Whether a container that does not run shall run.
pub fn is_wanted(pod: &Pod, container: &Container, latest: Option<&ObservedContainer>) -> bool {
    if pod.deletion.is_some() {
        return false;
    }
    let Some(latest) = latest else { return true };
    match latest.state {
        State::Running => false,
        State::Created | State::Unknown => container.role != Role::Ephemeral,
        State::Exited => match (rule(container, latest.status.exit_code), policy(pod, container)) {
            (true, _) | (_, RestartPolicy::Always) => true,
            (_, RestartPolicy::OnFailure) => latest.status.exit_code != 0,
            (_, RestartPolicy::Never) => false,
        },
    }
}

/// The container's own policy, or its pod's.
pub fn policy(pod: &Pod, container: &Container) -> RestartPolicy {
    match (container.role, container.value["restartPolicy"].as_str()) {
        (Role::Ephemeral, _) | (_, Some("Never")) => RestartPolicy::Never,
        (Role::Sidecar, _) | (Role::Main, Some("Always")) => RestartPolicy::Always,
        (_, Some("OnFailure")) => RestartPolicy::OnFailure,
        _ => pod.restart_policy,
    }
}

/// Whether one of the container's rules asks for a restart after this exit code.
fn rule(container: &Container, code: i32) -> bool {
    let rules = container.value["restartPolicyRules"].as_array().into_iter().flatten();
    rules.into_iter().filter(|rule| rule["action"] == "Restart").any(|rule| {
        let codes = &rule["exitCodes"];
        let listed = codes["values"].as_array().into_iter().flatten();
        let found = listed.filter_map(Value::as_i64).any(|value| value == i64::from(code));
        match codes["operator"].as_str() {
            Some("In") => found,
            Some("NotIn") => !found,
            _ => false,
        }
    })
}

/// Under which name a container's restarts are counted: another image begins anew.
pub fn restart_key(pod: &Pod, container: &Container) -> String {
    format!("{}/{}/{}", pod.uid, container.name, labels::hash(container))
}

pub fn ended_at(container: &ObservedContainer) -> Option<Timestamp> {
    Timestamp::from_nanosecond(container.status.finished_at.into()).ok()
}
