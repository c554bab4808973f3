//! Where the volumes of a pod can be reached: those that its claims are bound to.
//!
//! Not which volume a claim gets (the volume binder's), so a claim that has none says nothing about nodes.
//!
//! Reference: upstream's plugins VolumeBinding (`nodeAffinity` of a volume) and VolumeZone (its labels of zone and region, the
//! beta ones too).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::affinity::NodeAffinity;
use crate::node::Node;

const ZONES: [&str; 4] = [
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];
/// Between the zones of a volume that is in several.
const BETWEEN: &str = "__";

/// Where one volume can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    affinity: NodeAffinity,
    /// Labels, and the values of which a node must have one.
    zones: Vec<(&'static str, BTreeSet<String>)>,
}

impl Reach {
    /// Of a PersistentVolume.
    pub fn read(volume: &Value) -> Reach {
        let labels = &volume["metadata"]["labels"];
        let zones = ZONES.into_iter().filter_map(|key| {
            let values: BTreeSet<String> =
                labels[key].as_str()?.split(BETWEEN).map(|zone| zone.trim().to_owned()).collect();
            // One that cannot be read says nothing.
            (!values.contains("")).then_some((key, values))
        });
        Reach { affinity: NodeAffinity::of_volume(&volume["spec"]["nodeAffinity"]), zones: zones.collect() }
    }

    /// Whether the volume's affinity admits a node.
    pub fn admits(&self, node: &Node) -> bool {
        self.affinity.admits(node)
    }

    /// Whether a node is in one of the volume's zones. A node that says nothing about zones is in all of them.
    pub fn is_near(&self, node: &Node) -> bool {
        if !ZONES.iter().any(|key| node.labels.contains_key(*key)) {
            return true;
        }
        self.zones.iter().all(|(key, values)| {
            let here = node.labels.get(*key).or_else(|| node.labels.get(today(key)));
            here.is_some_and(|here| values.contains(here))
        })
    }
}

/// What a beta label is called today.
fn today(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        key => key,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(labels: Value, affinity: Value, node: Value, expect: (bool, bool)) {
        let volume = json!({"metadata": {"labels": labels}, "spec": {"nodeAffinity": affinity}});
        let (reach, node) =
            (Reach::read(&volume), Node::read(&json!({"metadata": {"name": "n", "labels": node}})));
        assert_eq!((reach.admits(&node), reach.is_near(&node)), expect, "{volume} {:?}", node.labels);
    }

    #[test]
    fn zones_and_affinity() {
        let (zone, beta) = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        let none = json!(null);
        check(json!({zone: "a"}), none.clone(), json!({zone: "a"}), (true, true));
        check(json!({zone: "a"}), none.clone(), json!({zone: "b"}), (true, false));
        check(json!({zone: "a__b"}), none.clone(), json!({zone: "b"}), (true, true));
        check(json!({beta: "a"}), none.clone(), json!({zone: "a"}), (true, true));
        check(json!({beta: "a"}), none.clone(), json!({zone: "b"}), (true, false));
        check(json!({beta: "a"}), none.clone(), json!({beta: "b", zone: "a"}), (true, false));
        check(json!({zone: "a"}), none.clone(), json!({beta: "a"}), (true, false));
        check(json!({zone: "a"}), none.clone(), json!({}), (true, true));
        check(json!({"topology.kubernetes.io/region": "r"}), none.clone(), json!({zone: "a"}), (true, false));
        check(json!({}), none.clone(), json!({zone: "a"}), (true, true));
        let only = |host: &str| {
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}})
        };
        check(none.clone(), only("n"), json!({"kubernetes.io/hostname": "n"}), (true, true));
        check(none.clone(), only("m"), json!({"kubernetes.io/hostname": "n"}), (false, true));
        check(none, only("m"), json!({}), (false, true));
    }
}
