//! What controllers want to know of a pod.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fields::{condition, is_deleting, list, text, time};

/// Counts as a replica: neither over nor on its way out.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_over(pod) && !is_deleting(pod)
}

/// Has run to its end.
pub(crate) fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// On its way out and not yet at its end.
pub(crate) fn is_terminating(pod: &Value) -> bool {
    is_deleting(pod) && !is_over(pod)
}

/// The names of the claims that a pod mounts: those that it names, and those that are made for it.
pub(crate) fn claims(pod: &Value) -> impl Iterator<Item = String> {
    let name = text(pod, "/metadata/name");
    list(pod, "/spec/volumes").iter().filter_map(move |volume| {
        match volume["persistentVolumeClaim"]["claimName"].as_str() {
            Some(claim) => Some(claim.to_owned()),
            None => volume["ephemeral"].is_object().then(|| format!("{name}-{}", text(volume, "/name"))),
        }
    })
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Since when it is ready.
pub(crate) fn ready_since(pod: &Value) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready["status"] == "True")?;
    Some(time(ready, "/lastTransitionTime"))
}

/// How long until it counts as available: nothing if it does now, `None` if it is not ready.
pub(crate) fn until_available(pod: &Value, min_ready_seconds: i64, now: Timestamp) -> Option<SignedDuration> {
    let since = ready_since(pod)?;
    let left = SignedDuration::from_secs(min_ready_seconds).saturating_sub(now.duration_since(since));
    Some(if min_ready_seconds == 0 { SignedDuration::ZERO } else { left.max(SignedDuration::ZERO) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn availability() {
        let since = |status: &str| {
            json!({"status": {"conditions": [
                {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        };
        let now: Timestamp = "2026-01-01T00:00:04Z".parse().unwrap();
        for (status, min, expect) in
            [("True", 0, Some(0)), ("True", 4, Some(0)), ("True", 10, Some(6)), ("False", 0, None)]
        {
            let left = until_available(&since(status), min, now);
            assert_eq!(left, expect.map(SignedDuration::from_secs), "{status} {min}");
        }
    }
}
