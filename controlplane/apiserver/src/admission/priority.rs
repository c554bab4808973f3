//! Priority: the number behind a pod's priority class. The two classes that every cluster has are known;
//! others come with their kind.

use api::status::{Qualified, Status};
use serde_json::Value;

use super::name_of;

const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) fn admit(pod: &mut Value) -> Result<(), Status> {
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let refused =
        |why: String| Err(Status::forbidden(Qualified { group: "", name: "pods" }, name_of(pod), why));
    let priority = match (class, SYSTEM.iter().find(|(name, _)| *name == class)) {
        ("", _) => 0,
        (_, Some((_, value))) => *value,
        (class, None) => return refused(format!("no PriorityClass with name {class} was found")),
    };
    if pod["spec"]["priority"].as_i64().is_some_and(|given| given != priority) {
        let given = pod["spec"]["priority"].as_i64().unwrap_or_default();
        return refused(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    pod["spec"]["priority"] = priority.into();
    if !pod["spec"]["preemptionPolicy"].is_string() {
        pod["spec"]["preemptionPolicy"] = "PreemptLowerPriority".into();
    }
    Ok(())
}
