//! PodTopologyLabels: a pod carries zone and region of its node as labels, so that its containers can be told.
//!
//! Copied once, when the pod gets its node; a node without them, or one that is not there, changes nothing.
//!
//! Reference: KEP-4742.

use serde_json::{Value, json};

use crate::server::Server;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a binding; the pod gets a binding's labels.
pub(super) fn of_binding(server: &Server, binding: &mut Value) {
    if binding["target"]["kind"] == "Node" {
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        copy(server, &node, binding);
    }
}

/// Labels a pod that is created with a node.
pub(super) fn of_pod(server: &Server, pod: &mut Value) {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    if !node.is_empty() {
        copy(server, &node, pod);
    }
}

fn copy(server: &Server, node: &str, object: &mut Value) {
    let Some(node) = server.caches.named("", "nodes").and_then(|nodes| nodes.get(node)) else { return };
    label(object, &node.value());
}

fn label(object: &mut Value, node: &Value) {
    for name in LABELS {
        let Some(value) = node["metadata"]["labels"][name].as_str() else { continue };
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["metadata"]["labels"][name] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_and_region_alone_and_the_nodes_win() {
        let check = |mut object: Value, labels: Value, expect: Value| {
            label(&mut object, &json!({"metadata": {"labels": labels}}));
            assert_eq!(object, expect);
        };
        let (zone, region) = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region");
        check(json!({}), json!({"a": "b"}), json!({}));
        check(json!({}), json!({zone: "z", "a": "b"}), json!({"metadata": {"labels": {zone: "z"}}}));
        let pod = json!({"metadata": {"name": "p", "labels": {zone: "lied", "a": "b"}}});
        let expect = json!({"metadata": {"name": "p", "labels": {zone: "z", "a": "b", region: "r"}}});
        check(pod, json!({zone: "z", region: "r"}), expect);
    }
}
