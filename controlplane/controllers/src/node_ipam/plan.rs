//! Which ranges a Node gets. Pure.

use api::meta::Meta;
use ipnet::IpNet;
use serde_json::Value;

use super::ClusterRange;
use crate::fields::{list, text};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// One of each cluster range, in their order.
    Assign(Vec<IpNet>),
    /// This range has nothing left.
    Exhausted(ClusterRange),
}

/// It has none, and is not about to go.
pub(super) fn wants_a_range(node: &Value) -> bool {
    ranges_of(node).is_empty() && Meta::of(node).deletion_timestamp().is_none()
}

/// What a Node has; what cannot be read is nobody's.
pub(super) fn ranges_of(node: &Value) -> Vec<IpNet> {
    let several = list(node, "/spec/podCIDRs").iter().filter_map(Value::as_str);
    let mut found: Vec<IpNet> = several.filter_map(|range| range.parse().ok()).collect();
    if found.is_empty() {
        found.extend(text(node, "/spec/podCIDR").parse::<IpNet>().ok());
    }
    found
}

pub(super) fn plan(node: &Value, ranges: &[ClusterRange], taken: &[IpNet]) -> Option<Step> {
    if !wants_a_range(node) {
        return None;
    }
    let mut subnets = Vec::new();
    for range in ranges {
        match range.first_free(taken) {
            Some(subnet) => subnets.push(subnet),
            None => return Some(Step::Exhausted(*range)),
        }
    }
    Some(Step::Assign(subnets))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spec: Value, taken: &[&str], expect: &str) {
        let range = |text: &str, prefix| ClusterRange::new(text.parse().unwrap(), prefix).unwrap();
        let ranges = [range("10.0.0.0/23", 24), range("fd00::/63", 64)];
        let taken: Vec<IpNet> = taken.iter().map(|net| net.parse().unwrap()).collect();
        let mut node = json!({"metadata": {"name": "n"}, "spec": spec});
        if node["spec"]["deleting"] == true {
            node["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        let shown = match plan(&node, &ranges, &taken) {
            None => "nothing".to_owned(),
            Some(Step::Assign(nets)) => nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Some(Step::Exhausted(range)) => format!("no {range}"),
        };
        assert_eq!(shown, expect, "{node} {taken:?}");
    }

    #[test]
    fn nodes_without_ranges_get_one_of_each() {
        check(json!({}), &[], "10.0.0.0/24 fd00::/64");
        check(json!({}), &["10.0.0.0/24"], "10.0.1.0/24 fd00::/64");
        check(json!({}), &["10.0.0.0/24", "10.0.1.0/24"], "no 10.0.0.0/23 in parts of /24");
        check(json!({}), &["fd00::/63"], "no fd00::/63 in parts of /64");
        check(json!({"podCIDR": "10.9.0.0/24"}), &[], "nothing");
        check(json!({"podCIDR": "10.9.0.0/24", "podCIDRs": ["10.9.0.0/24"]}), &[], "nothing");
        check(json!({"deleting": true}), &[], "nothing");
        check(json!({"podCIDR": "nonsense"}), &[], "10.0.0.0/24 fd00::/64");
    }
}
