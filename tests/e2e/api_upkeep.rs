//! What every cluster has comes back when it is taken away, without a restart.

use std::time::{Duration, Instant};

use harness::api::Server;
use harness::node::PATIENCE;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

#[test]
fn what_every_cluster_has_comes_back() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let service = "/api/v1/namespaces/default/services/kubernetes";
    let lost = [
        service.to_owned(),
        format!("{FLOW}/flowschemas/probes"),
        format!("{FLOW}/prioritylevelconfigurations/system"),
    ];
    let before: Vec<_> = lost.iter().map(|path| admin.get(path).expect(200)).collect();
    for path in &lost {
        admin.delete(path).expect(200);
    }
    // No controllers here: nobody else ends what a deleted namespace still waits for.
    let namespace = "/api/v1/namespaces/kube-node-lease";
    let mut ending = admin.delete(namespace).expect(200);
    let uid = ending["metadata"]["uid"].clone();
    ending["spec"] = json!({"finalizers": []});
    let finalize = format!("{namespace}/finalize");
    admin.send("PUT", &finalize, "application/json", ending.to_string().as_bytes()).expect(200);
    let begun = Instant::now();
    for path in lost.iter().map(String::as_str).chain([namespace]) {
        while admin.get(path).code != 200 {
            assert!(begun.elapsed() < PATIENCE, "{path} does not come back");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_ne!(admin.get(namespace).expect(200)["metadata"]["uid"], uid);
    for (path, before) in lost.iter().zip(before) {
        assert_eq!(admin.get(path).expect(200)["spec"], before["spec"], "{path}");
    }
}
