//! Events, by both of their names.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path};

pub(super) const ALL: &[Behaviour] = &[
    ("an Event of the core lives", core),
    ("Events of the core are deleted together", |cluster, namespace| together(cluster, namespace, "v1")),
    ("an Event of events.k8s.io lives", newer),
    ("Events of events.k8s.io are deleted together", |cluster, namespace| {
        together(cluster, namespace, "events.k8s.io/v1")
    }),
];

fn event(api: &str, namespace: &str, name: &str) -> Value {
    let about = json!({"namespace": namespace, "kind": "Pod", "name": "p"});
    if api == "v1" {
        json!({"metadata": {"name": name, "labels": {"of": namespace}}, "involvedObject": about, "reason": "Tested",
            "message": "said", "type": "Normal", "source": {"component": "test"}})
    } else {
        json!({"metadata": {"name": name, "labels": {"of": namespace}}, "regarding": about, "reason": "Tested", "action": "Do",
            "note": "said", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "test",
            "reportingInstance": "test-1"})
    }
}

fn core(cluster: &Cluster, namespace: &str) {
    let all = path("v1", namespace, "events");
    cluster.create(&all, &event("v1", namespace, "e"));
    let everywhere = format!("/api/v1/events?labelSelector=of%3D{namespace}");
    assert_eq!(cluster.items(&everywhere).len(), 1);
    let patched = cluster
        .admin
        .patch(&format!("{all}/e"), "strategic-merge", &json!({"message": "said again"}))
        .expect(200);
    assert_eq!(patched["message"], "said again");
    let twin = cluster.get(&format!("{}/e", path("events.k8s.io/v1", namespace, "events")));
    assert_eq!((&twin["note"], &twin["regarding"]["name"]), (&json!("said again"), &json!("p")));
    cluster.delete(&format!("{all}/e"));
    assert!(cluster.items(&everywhere).is_empty());
}

fn newer(cluster: &Cluster, namespace: &str) {
    let all = path("events.k8s.io/v1", namespace, "events");
    let mut made = cluster.create(&all, &event("events.k8s.io/v1", namespace, "e"));
    made["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"});
    let updated = cluster.put(&format!("{all}/e"), &made);
    assert_eq!(updated["series"]["count"], 2);
    let chosen = format!("{all}?fieldSelector=reportingController%3Dtest");
    assert_eq!(cluster.items(&chosen).len(), 1);
    cluster.delete(&format!("{all}/e"));
    assert!(cluster.items(&chosen).is_empty());
}

fn together(cluster: &Cluster, namespace: &str, api: &str) {
    let all = path(api, namespace, "events");
    for name in ["a", "b", "c"] {
        cluster.create(&all, &event(api, namespace, name));
    }
    let selected = format!("{all}?labelSelector=of%3D{namespace}");
    assert_eq!(cluster.items(&selected).len(), 3);
    cluster.delete(&selected);
    assert!(cluster.items(&selected).is_empty());
}
