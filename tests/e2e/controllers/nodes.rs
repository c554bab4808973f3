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
