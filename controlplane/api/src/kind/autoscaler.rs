//! The two faces of a HorizontalPodAutoscaler: `autoscaling/v2` (how it is stored) and `autoscaling/v1`.
//!
//! `v1` has one target, the processor's; what it has no field for travels in upstream's annotations, so that nothing
//! is lost either way.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// From `autoscaling/v1` to the stored form.
pub fn autoscaler_of_v1(mut v1: Map<String, Value>) -> Map<String, Value> {
    let mut taken = |name: &str| {
        let text = v1.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?.shift_remove(name)?;
        serde_json::from_str::<Value>(text.as_str()?).ok()
    };
    let (metrics, current) = (taken(METRICS), taken(CURRENT_METRICS));
    let (conditions, behavior) = (taken(CONDITIONS), taken(BEHAVIOR));
    without_empty_annotations(&mut v1);
    let mut out = renamed(v1, "autoscaling/v2");
    if let Some(spec) = out.get_mut("spec").and_then(Value::as_object_mut) {
        let percent = spec.shift_remove("targetCPUUtilizationPercentage");
        let cpu = percent.map(|percent| {
            json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": percent}}})
        });
        let all: Vec<Value> = cpu
            .into_iter()
            .chain(metrics.as_ref().and_then(Value::as_array).cloned().into_iter().flatten())
            .collect();
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = out.get_mut("status").and_then(Value::as_object_mut) {
        let percent = status.shift_remove("currentCPUUtilizationPercentage");
        let cpu = percent.map(|percent| {
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
        });
        let rest = current.as_ref().and_then(Value::as_array).cloned().into_iter().flatten();
        let all: Vec<Value> = cpu.into_iter().chain(rest).collect();
        status.insert("currentMetrics".into(), if all.is_empty() { Value::Null } else { all.into() });
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
    out
}

/// From the stored form to `autoscaling/v1`.
pub fn v1_of_autoscaler(v2: Map<String, Value>) -> Map<String, Value> {
    let mut out = renamed(v2, "autoscaling/v1");
    let mut kept = Vec::new();
    if let Some(spec) = out.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.shift_remove("metrics");
        let (percent, rest) = split(metrics, "/resource/target/averageUtilization");
        if let Some(percent) = percent {
            spec.insert("targetCPUUtilizationPercentage".into(), percent);
        }
        kept.push((METRICS, rest));
        kept.push((BEHAVIOR, spec.shift_remove("behavior")));
    }
    if let Some(status) = out.get_mut("status").and_then(Value::as_object_mut) {
        let (percent, rest) =
            split(status.shift_remove("currentMetrics"), "/resource/current/averageUtilization");
        status.entry("currentReplicas").or_insert_with(|| 0.into());
        if let Some(percent) = percent {
            status.insert("currentCPUUtilizationPercentage".into(), percent);
        }
        kept.push((CURRENT_METRICS, rest));
        kept.push((CONDITIONS, status.shift_remove("conditions")));
    }
    if let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut) {
        for (name, value) in kept.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[name] = value.to_string().into();
        }
    }
    out
}

/// The first target of the processor, and the other metrics where there are any.
fn split(metrics: Option<Value>, pointer: &str) -> (Option<Value>, Option<Value>) {
    let Some(Value::Array(mut metrics)) = metrics else { return (None, None) };
    let is_cpu = |metric: &Value| {
        metric["type"] == "Resource"
            && metric["resource"]["name"] == "cpu"
            && metric.pointer(pointer).is_some()
    };
    let percent = metrics.iter().position(is_cpu).and_then(|at| metrics.remove(at).pointer(pointer).cloned());
    (percent, (!metrics.is_empty()).then(|| metrics.into()))
}

fn renamed(mut object: Map<String, Value>, api_version: &str) -> Map<String, Value> {
    object.insert("apiVersion".into(), api_version.into());
    object
}

fn without_empty_annotations(object: &mut Map<String, Value>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        metadata.shift_remove("annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_either_way() {
        let v2 = json!({"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "metrics": [
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 9}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
                "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}},
            "status": {"desiredReplicas": 1, "currentMetrics": null, "conditions": [{"type": "AbleToScale", "status": "True"}]}});
        let v1 = v1_of_autoscaler(v2.as_object().cloned().unwrap());
        assert_eq!(v1["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}));
        assert_eq!(v1["status"], json!({"desiredReplicas": 1, "currentReplicas": 0}));
        let back = Value::Object(autoscaler_of_v1(v1));
        assert_eq!(back["spec"]["behavior"], v2["spec"]["behavior"]);
        assert_eq!(back["status"]["conditions"], v2["status"]["conditions"]);
        assert_eq!(back["spec"]["metrics"].as_array().map(Vec::len), Some(2));
        assert!(back["metadata"].get("annotations").is_none());
    }
}
