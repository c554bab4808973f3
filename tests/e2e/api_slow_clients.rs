//! Clients that send or read slowly, or not at all: nothing is kept for them for long.

use harness::api::{Credential, Server};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What a request is allotted here.
const ALLOTTED: [&str; 2] = ["--request-timeout-seconds", "2"];

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start_with(PROGRAM, &ALLOTTED);
    let late = server.admin().begin("POST", MAPS, 100);
    late.refused(504, "Timeout", "Timeout: request did not complete within the allotted timeout");
}

#[test]
fn an_answer_that_is_not_read_breaks_off() {
    // Whoever reads must be done within it.
    let server = Server::start_with(PROGRAM, &["--request-timeout-seconds", "10"]);
    let admin = server.admin();
    // More than the sockets of both sides hold.
    for number in 0..20 {
        let data = "x".repeat(1_000_000);
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"a": data}});
        admin.post(MAPS, &map).expect(201);
    }
    let reader = json!({"metadata": {"name": "reader"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &reader).expect(201);
    let binding = json!({"metadata": {"name": "reader"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.post(bindings, &binding).expect(201);
    // What is asked after this is judged by it.
    admin.get(bindings).expect(200);
    let asked = admin
        .post("/api/v1/namespaces/default/serviceaccounts/reader/token", &json!({"spec": {}}))
        .expect(201);
    let token = asked["status"]["token"].as_str().expect("a token").to_owned();
    let reader = server.client(Credential::Token(token));
    reader.get("/api/v1/namespaces/default/configmaps/m0").expect(200);
    let unread = reader.begin_to_read(MAPS);
    assert_eq!(unread.code(), 200);
    let taken = |server: &Server| {
        let text = server.admin().get("/metrics").text();
        let name = "apiserver_flowcontrol_current_executing_requests{priority_level=\"workload-low\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the level's figure");
        line.to_owned()
    };
    let begun = std::time::Instant::now();
    while taken(&server) != "0" {
        assert!(begun.elapsed().as_secs() < 120, "the seat is free again");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let error = unread.rest().expect_err("an answer that breaks off");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    // Whoever reads gets it all.
    assert_eq!(reader.get(MAPS).expect(200)["items"].as_array().map(Vec::len), Some(20));
}

#[test]
fn headers_are_bounded() {
    let server = Server::start(PROGRAM);
    let with = |bytes: usize| server.admin().with("x-filler", &"x".repeat(bytes)).get("/version").code;
    assert_eq!((with(30_000), with(200_000)), (200, 431));
}
