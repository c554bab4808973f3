//! A node's conditions become its taints.

use serde_json::json;

use super::Cluster;

#[test]
fn a_ready_node_loses_its_taint() {
    let cluster = Cluster::start();
    let node = json!({"metadata": {"name": "n"}});
    cluster.admin.post("/api/v1/nodes", &node).expect(201);
    let taints =
        || cluster.admin.get("/api/v1/nodes/n").expect(200)["spec"]["taints"].as_array().map_or(0, Vec::len);
    assert_eq!(taints(), 1, "admission taints a new node");
    for (status, expect) in [("True", 0), ("False", 2), ("True", 0)] {
        let conditions = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        cluster.admin.patch("/api/v1/nodes/n/status", "strategic-merge", &conditions).expect(200);
        cluster.until(status, || taints() == expect);
    }
}

/// `spec.podCIDR` of every node, by name.
fn ranges(cluster: &Cluster) -> Vec<(String, String)> {
    let nodes = cluster.items("/api/v1/nodes");
    let mut found: Vec<(String, String)> = nodes
        .iter()
        .map(|node| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
            assert_eq!(node["spec"]["podCIDR"], node["spec"]["podCIDRs"][0]);
            (text(&node["metadata"]["name"]), text(&node["spec"]["podCIDR"]))
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_node_has_a_range_of_its_own() {
    let mut cluster = Cluster::start_with(&["--cluster-cidr=10.9.0.0/24", "--node-cidr-mask-size=26"]);
    let create = |cluster: &Cluster, name: &str| {
        cluster.admin.post("/api/v1/nodes", &json!({"metadata": {"name": name}})).expect(201);
    };
    let expect = |cluster: &Cluster, wanted: &[(&str, &str)]| {
        let wanted: Vec<(String, String)> =
            wanted.iter().map(|(name, range)| ((*name).to_owned(), (*range).to_owned())).collect();
        cluster.until(&format!("{wanted:?}"), || ranges(cluster) == wanted);
    };
    create(&cluster, "a");
    expect(&cluster, &[("a", "10.9.0.0/26")]);
    // Killed while nodes come: what was given stays given, what was not is given afterwards.
    cluster.kill_controllers();
    for name in ["b", "c"] {
        create(&cluster, name);
    }
    let arguments = ["--cluster-cidr=10.9.0.0/24", "--node-cidr-mask-size=26"];
    cluster.start_controllers_with(&arguments);
    create(&cluster, "d");
    cluster.until("four ranges", || ranges(&cluster).iter().all(|(_, range)| range != "-"));
    let distinct: std::collections::BTreeSet<String> =
        ranges(&cluster).into_iter().map(|(_, range)| range).collect();
    assert_eq!(distinct.len(), 4, "{distinct:?}");
    assert_eq!(ranges(&cluster)[0].1, "10.9.0.0/26");

    create(&cluster, "e");
    let told = || {
        let events = cluster.items("/api/v1/namespaces/default/events");
        events.iter().any(|event| {
            event["reason"] == "CIDRNotAvailable"
                && event["message"] == "Node e status is now: CIDRNotAvailable"
                && event["source"]["component"] == "cidrAllocator"
        })
    };
    cluster.until("the event", told);
    let freed = ranges(&cluster)[1].1.clone();
    cluster.admin.delete("/api/v1/nodes/b").expect(200);
    cluster.until("the range of the node that went", || {
        ranges(&cluster).iter().any(|(name, range)| name == "e" && *range == freed)
    });
}
