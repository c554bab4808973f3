//! Whether a rollout goes on, is complete or stuck: the Progressing and ReplicaFailure conditions. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::replicas::wanted;
use super::status::{condition, find, replace, set};
use crate::fields::{int, list, text, time};

const PROGRESSING: &str = "Progressing";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const FAILURE: &str = "ReplicaFailure";
/// No deadline: upstream's defaulting writes this for "none".
const NO_DEADLINE: i64 = i32::MAX as i64;

pub(super) fn deadline(deployment: &Value) -> Option<i64> {
    deployment
        .pointer("/spec/progressDeadlineSeconds")
        .and_then(Value::as_i64)
        .filter(|seconds| *seconds != NO_DEADLINE)
}

/// Notes that the current set was made or found, where nothing is noted yet.
pub(super) fn begun(status: &mut Value, deployment: &Value, name: &str, created: bool, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let (reason, message) = match created {
        true => ("NewReplicaSetCreated", format!("Created new replica set {name:?}")),
        false if find(status, PROGRESSING).is_some() => return,
        false => ("FoundNewReplicaSet", format!("Found new replica set {name:?}")),
    };
    set(status, condition(PROGRESSING, "True", reason, &message, now));
}

/// Notes pausing and resuming.
pub(super) fn paused(status: &mut Value, deployment: &Value, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let known = find(status, PROGRESSING);
    if known.is_some_and(|known| known["reason"] == TIMED_OUT) {
        return;
    }
    let noted = known.is_some_and(|known| known["reason"] == "DeploymentPaused");
    match (deployment["spec"]["paused"] == true, noted) {
        (true, false) => {
            set(status, condition(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused", now));
        }
        (false, true) => {
            set(status, condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed", now));
        }
        _ => {}
    }
}

pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = wanted(deployment);
    ["updatedReplicas", "replicas", "availableReplicas"]
        .iter()
        .all(|field| status[*field].as_i64().unwrap_or(0) == wanted)
        && int(status, "/observedGeneration") >= int(deployment, "/metadata/generation")
}

/// The conditions of a rollout under way; when to look again for a deadline.
pub(super) fn rollout(
    status: &mut Value,
    deployment: &Value,
    current: Option<&Value>,
    old: &[Value],
    now: Timestamp,
) -> Option<Duration> {
    let known = find(status, PROGRESSING).cloned();
    let name = current.map(|set| text(set, "/metadata/name"));
    let says = |ending: &str| match name {
        Some(name) => format!("ReplicaSet {name:?} {ending}"),
        None => format!("Deployment {:?} {ending}", text(deployment, "/metadata/name")),
    };
    if deadline(deployment).is_none() {
        replace(status, PROGRESSING, None);
    } else {
        let done_before = int(status, "/replicas") == int(status, "/updatedReplicas")
            && known.as_ref().is_some_and(|known| known["reason"] == COMPLETE);
        if !done_before {
            if is_complete(deployment, status) {
                set(
                    status,
                    condition(PROGRESSING, "True", COMPLETE, &says("has successfully progressed."), now),
                );
            } else if has_moved(&deployment["status"], status) {
                let mut fresh =
                    condition(PROGRESSING, "True", "ReplicaSetUpdated", &says("is progressing."), now);
                if let Some(known) = known.filter(|known| known["status"] == "True") {
                    fresh["lastTransitionTime"] = known["lastTransitionTime"].clone();
                }
                replace(status, PROGRESSING, Some(fresh));
            } else if known.as_ref().is_some_and(|known| is_late(deployment, known, now)) {
                set(
                    status,
                    condition(PROGRESSING, "False", TIMED_OUT, &says("has timed out progressing."), now),
                );
            }
        }
    }
    let failed = current.into_iter().chain(old).find_map(|set| {
        list(set, "/status/conditions").iter().find(|condition| condition["type"] == FAILURE)
    });
    match failed {
        Some(failed) => {
            let (reason, message) = (text(failed, "/reason"), text(failed, "/message"));
            set(status, condition(FAILURE, text(failed, "/status"), reason, message, now));
        }
        None => replace(status, FAILURE, None),
    }
    time_left(deployment, status, now)
}

fn has_moved(before: &Value, after: &Value) -> bool {
    let count = |status: &Value, field: &str| status.get(field).and_then(Value::as_i64).unwrap_or(0);
    let old = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let more = |field: &str| count(after, field) > count(before, field);
    more("updatedReplicas") || more("readyReplicas") || more("availableReplicas") || old(after) < old(before)
}

fn is_late(deployment: &Value, known: &Value, now: Timestamp) -> bool {
    match text(known, "/reason") {
        COMPLETE => false,
        TIMED_OUT => true,
        _ => ends(deployment, known).is_some_and(|ends| ends < now),
    }
}

fn ends(deployment: &Value, known: &Value) -> Option<Timestamp> {
    let seconds = deadline(deployment)?;
    time(known, "/lastUpdateTime").checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn time_left(deployment: &Value, status: &Value, now: Timestamp) -> Option<Duration> {
    let known = find(status, PROGRESSING)?;
    if matches!(text(known, "/reason"), COMPLETE | TIMED_OUT) || is_complete(deployment, status) {
        return None;
    }
    let left = ends(deployment, known)?.duration_since(now).max(SignedDuration::ZERO);
    Some(left.unsigned_abs() + Duration::from_secs(1))
}
