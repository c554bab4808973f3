//! Plans of Deployments, as tables.

use super::*;

fn deployment(replicas: i64, image: &str, strategy: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "n", "uid": "D", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}}}})
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
}

/// A set of an image as the API gives it back.
fn set(of: &Value, image: &str, size: i64, available: i64, revision: i64) -> Value {
    let mut of = of.clone();
    of["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    let mut set = new_set(&of, size, revision);
    set["metadata"]["creationTimestamp"] = format!("2026-01-0{revision}T00:00:00Z").into();
    set["status"] = json!({"replicas": size, "readyReplicas": available, "availableReplicas": available});
    set
}

/// Steps without the status, in short.
fn steps(deployment: &Value, sets: Vec<Value>, old_pods_run: bool) -> Vec<String> {
    let now = "2026-02-01T00:00:00Z".parse().unwrap();
    let plan = plan(deployment, &Observed { sets, old_pods_run, now });
    let image = |set: &Value| text(set, "/spec/template/spec/containers/0/image").to_owned();
    let short = plan.steps.iter().filter_map(|step| match step {
        Step::Create { set, replicas } => Some(format!("create {} {replicas}", image(set))),
        Step::Update { set, scaled: Some((from, to)) } => Some(format!("{} {from}->{to}", image(set))),
        Step::Update { set, scaled: None } => Some(format!("{} noted", image(set))),
        Step::Delete { name, .. } => Some(format!("delete {}", name.len())),
        Step::Revision(revision) => Some(format!("revision {revision}")),
        Step::Status(_) => None,
    });
    short.collect()
}

#[test]
fn a_rolling_update_from_first_to_last() {
    let d = deployment(4, "v2", rolling());
    let mut numbered = d.clone();
    numbered["metadata"]["annotations"] = json!({revision::REVISION: "2"});
    let at = |size, available, old, old_available| {
        vec![set(&d, "v1", old, old_available, 1), set(&d, "v2", size, available, 2)]
    };
    assert_eq!(steps(&d, vec![], false), ["create v2 4", "revision 1"]);
    assert_eq!(steps(&d, vec![set(&d, "v1", 4, 4, 1)], false), ["create v2 1", "revision 2"]);
    for (sets, expect) in [
        (at(1, 0, 4, 4), vec!["v1 4->3"]),
        (at(1, 0, 3, 3), vec!["v2 1->2"]),
        (at(2, 0, 3, 3), vec![]),
        (at(2, 2, 3, 3), vec!["v1 3->1"]),
        (at(2, 2, 1, 1), vec!["v2 2->4"]),
        (at(4, 4, 1, 1), vec!["v1 1->0"]),
        (at(4, 4, 0, 0), vec![]),
        (at(5, 5, 0, 0), vec!["v2 5->4"]),
    ] {
        assert_eq!(steps(&numbered, sets.clone(), false), expect, "{sets:?}");
    }
}

#[test]
fn going_back_finds_the_old_set() {
    let d = deployment(4, "v1", rolling());
    let sets = vec![set(&d, "v1", 0, 0, 1), set(&d, "v2", 4, 4, 2)];
    assert_eq!(steps(&d, sets, false), ["v1 0->1", "revision 3"]);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let d = deployment(2, "v2", json!({"type": "Recreate"}));
    assert_eq!(steps(&d, vec![set(&d, "v1", 2, 2, 1)], true), ["v1 2->0"]);
    assert_eq!(steps(&d, vec![set(&d, "v1", 0, 0, 1)], true), [""; 0]);
    assert_eq!(steps(&d, vec![set(&d, "v1", 0, 0, 1)], false), ["create v2 2", "revision 2"]);
}

#[test]
fn only_the_size_changes() {
    let mut d = deployment(4, "v1", rolling());
    let sets = vec![set(&d, "v1", 4, 4, 1)];
    d["metadata"]["annotations"] = json!({revision::REVISION: "1"});
    for (size, expect) in [(7, "v1 4->7"), (0, "v1 4->0")] {
        d["spec"]["replicas"] = size.into();
        assert_eq!(steps(&d, sets.clone(), false), [expect]);
    }
}

#[test]
fn a_paused_one_rolls_nothing() {
    let mut d = deployment(4, "v2", rolling());
    d["spec"]["paused"] = true.into();
    assert_eq!(steps(&d, vec![set(&d, "v1", 4, 4, 1)], false), [""; 0]);
    d["spec"]["replicas"] = 6.into();
    assert_eq!(steps(&d, vec![set(&deployment(4, "v2", rolling()), "v1", 4, 4, 1)], false), ["v1 4->6"]);
}

#[test]
fn history_is_cut_when_complete() {
    let mut d = deployment(1, "v3", rolling());
    d["metadata"]["annotations"] = json!({revision::REVISION: "3"});
    let sets = vec![set(&d, "v1", 0, 0, 1), set(&d, "v2", 0, 0, 2), set(&d, "v3", 1, 1, 3)];
    let gone = steps(&d, sets, false);
    assert!(matches!(gone.as_slice(), [one] if one.starts_with("delete")), "{gone:?}");
}

#[test]
fn conditions_tell_the_rollout() {
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().unwrap();
    let mut d = deployment(1, "v1", rolling());
    let reasons = |d: &mut Value, sets: Vec<Value>, now: Timestamp| -> Vec<String> {
        let plan = plan(d, &Observed { sets, old_pods_run: false, now });
        if let Some(Step::Status(status)) = plan.steps.iter().find(|step| matches!(step, Step::Status(_))) {
            d["status"] = status.clone();
        }
        let conditions = d["status"]["conditions"].as_array().unwrap();
        conditions
            .iter()
            .map(|c| format!("{}={} {}", text(c, "/type"), text(c, "/status"), text(c, "/reason")))
            .collect()
    };
    let available = "Available=True MinimumReplicasAvailable";
    // One of one may be unavailable here.
    assert_eq!(reasons(&mut d, vec![], now), [available, "Progressing=True NewReplicaSetCreated"]);
    let sets = |available| vec![set(&deployment(1, "v1", rolling()), "v1", 1, available, 1)];
    assert_eq!(reasons(&mut d, sets(0), now), [available, "Progressing=True ReplicaSetUpdated"]);
    let late = now + jiff::SignedDuration::from_secs(700);
    assert_eq!(reasons(&mut d, sets(0), late), [available, "Progressing=False ProgressDeadlineExceeded"]);
    assert_eq!(reasons(&mut d, sets(1), late), [available, "Progressing=True NewReplicaSetAvailable"]);
}
