//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or unreachable.

use serde_json::{Value, json};

const SECONDS: i64 = 300;
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn admit(pod: &mut Value) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for taint in TAINTS {
        let tolerated = tolerations.iter().any(|toleration| {
            let key = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (key.is_empty() || key == *taint) && matches!(effect, "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
    pod["spec"]["tolerations"] = tolerations.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_itself_stays() {
        for (given, keys) in [
            (json!([]), vec!["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]),
            (json!([{"operator": "Exists"}]), vec![""]),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]),
                vec!["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"],
            ),
            (
                json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]),
                vec![
                    "node.kubernetes.io/not-ready",
                    "node.kubernetes.io/not-ready",
                    "node.kubernetes.io/unreachable",
                ],
            ),
        ] {
            let mut pod = json!({"spec": {"tolerations": given}});
            admit(&mut pod);
            let found: Vec<&str> = pod["spec"]["tolerations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["key"].as_str().unwrap_or(""))
                .collect();
            assert_eq!(found, keys);
        }
    }
}
