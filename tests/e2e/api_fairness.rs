//! Priority and fairness: the objects of every cluster, a level that is full, and what its answers say.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use harness::api::{Client, Server};
use harness::webhook::Webhook;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const FLOW: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long the level may take to look as it must.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);

/// Holds up every write that the webhook is asked about while it is closed.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.0.lock().expect("nothing panics with it") = open;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().expect("nothing panics with it");
        drop(self.0.1.wait_while(open, |open| !*open).expect("nothing panics with it"));
    }
}

/// Waits until a figure of the level is this.
fn until(admin: &Client, figure: &str, value: usize) {
    let line = format!("apiserver_flowcontrol_{figure}{{priority_level=\"narrow\"}} {value}\n");
    let begun = Instant::now();
    loop {
        let figures = admin.get("/metrics").text();
        if figures.contains(&line) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not {line}{figures}");
        std::thread::sleep(LOOK);
    }
}

fn limit(admin: &Client, response: &Value) {
    let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": response}}});
    admin.post(&format!("{FLOW}/prioritylevelconfigurations"), &level).expect(201);
}

fn slow_webhook(admin: &Client, gate: &Gate) -> Webhook {
    let gate = gate.clone();
    let webhook = Webhook::start(move |question| {
        gate.pass();
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": question["request"]["uid"], "allowed": true}})
    });
    let hook = json!({"name": "slow.example.com", "clientConfig": webhook.client_config(), "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
    let object = json!({"metadata": {"name": "slow"}, "webhooks": [hook]});
    admin.post("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", &object).expect(201);
    webhook
}

/// The level of `jane`, who may everything.
fn schema(admin: &Client) -> String {
    let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]});
    let schema = json!({"metadata": {"name": "jane"}, "spec": {"priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 50,
        "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [everything]}]}});
    let made = admin.post(&format!("{FLOW}/flowschemas"), &schema).expect(201);
    let binding = json!({"metadata": {"name": "jane"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    admin.post(bindings, &binding).expect(201);
    // What is asked after this is judged by it.
    admin.get(bindings).expect(200);
    made["metadata"]["uid"].as_str().expect("a uid").to_owned()
}

#[test]
fn a_full_level_refuses_and_others_go_on() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let names = |resource: &str| {
        let list = admin.get(&format!("{FLOW}/{resource}")).expect(200);
        list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("prioritylevelconfigurations"),
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    assert_eq!(names("flowschemas").len(), 13);
    let answered = admin.get("/api/v1/nodes");
    let exempt = admin.get(&format!("{FLOW}/prioritylevelconfigurations/exempt")).expect(200);
    assert_eq!(
        answered.header("x-kubernetes-pf-prioritylevel-uid"),
        exempt["metadata"]["uid"].as_str().unwrap_or_default()
    );
    let gate = Gate::default();
    let _webhook = slow_webhook(&admin, &gate);
    limit(&admin, &json!({"type": "Reject"}));
    let uid = schema(&admin);
    let jane = || admin.with("impersonate-user", "jane");
    // One share of 246, of 600 seats.
    let seats = 600_usize.div_ceil(246);
    // A watch that has begun takes no seat.
    let _watches: Vec<_> =
        (0..3 + seats).map(|_| jane().watch(&format!("{MAPS}?watch=1&resourceVersion=0"))).collect();
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..seats)
            .map(|number| {
                let client = jane();
                scope.spawn(move || {
                    client.post(MAPS, &json!({"metadata": {"name": format!("m{number}")}})).code
                })
            })
            .collect();
        until(&admin, "current_executing_requests", seats);
        let refused = jane().get(MAPS);
        assert_eq!(
            (refused.header("retry-after"), refused.header("x-kubernetes-pf-flowschema-uid")),
            ("1", uid.as_str())
        );
        refused.refused(429, "TooManyRequests", "too many requests, please try again later");
        admin.get(MAPS).expect(200);
        admin.with("impersonate-user", "john").get("/version").expect(200);
        gate.set(true);
        assert!(busy.into_iter().all(|thread| thread.join().is_ok_and(|code| code == 201)));
    });
    jane().get(MAPS).expect(200);
    let figures = admin.get("/metrics").text();
    assert!(
        figures.contains("apiserver_flowcontrol_rejected_requests_total{priority_level=\"narrow\"} 1"),
        "{figures}"
    );
    // With a queue the next one waits for its turn.
    gate.set(false);
    let queue = json!({"spec": {"limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 5}}}}});
    admin.patch(&format!("{FLOW}/prioritylevelconfigurations/narrow"), "merge", &queue).expect(200);
    admin.get(&format!("{FLOW}/prioritylevelconfigurations")).expect(200);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..seats)
            .map(|number| {
                let client = jane();
                scope.spawn(move || {
                    client.post(MAPS, &json!({"metadata": {"name": format!("q{number}")}})).code
                })
            })
            .collect();
        until(&admin, "current_executing_requests", seats);
        let client = jane();
        let next = scope.spawn(move || client.get(MAPS).code);
        until(&admin, "current_inqueue_requests", 1);
        gate.set(true);
        assert!(next.join().is_ok_and(|code| code == 200));
        assert!(busy.into_iter().all(|thread| thread.join().is_ok_and(|code| code == 201)));
    });
}
