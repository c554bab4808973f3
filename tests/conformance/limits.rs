//! LimitRanges, priority classes and the levels of pod security, as admission applies them.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    ("a LimitRange gives defaults and refuses what is beyond it", a_limit_range),
    ("LimitRanges are listed, patched and deleted together", a_collection),
    ("a priority class gives its number, and keeps it", a_priority_class),
    ("the levels of pod security: enforced and warned of", pod_security),
    ("unsafe sysctls are refused by their names", sysctls),
];

fn with_cpu(name: &str, request: Option<&str>, limit: Option<&str>) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": pod_spec()});
    for (part, amount) in [("requests", request), ("limits", limit)] {
        if let Some(amount) = amount {
            pod["spec"]["containers"][0]["resources"][part]["cpu"] = amount.into();
        }
    }
    pod
}

fn a_limit_range(cluster: &Cluster, namespace: &str) {
    let ranges = path("v1", namespace, "limitranges");
    let limits = json!([{"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"},
        "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}}]);
    cluster.create(&ranges, &json!({"metadata": {"name": "l"}, "spec": {"limits": limits}}));
    let pods = path("v1", namespace, "pods");
    let made = {
        cluster.until("the range to be known", || {
            let answer = cluster.admin.post(&format!("{pods}?dryRun=All"), &with_cpu("a", None, None));
            answer.code == 201 && answer.json()["spec"]["containers"][0]["resources"]["limits"].is_object()
        });
        cluster.create(&pods, &with_cpu("a", None, None))
    };
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "200m"}, "requests": {"cpu": "100m"}})
    );
    assert_eq!(made["status"]["qosClass"], "Burstable", "the class is of what the range gave");
    let part = cluster.create(&pods, &with_cpu("b", None, Some("300m")));
    assert_eq!(
        part["spec"]["containers"][0]["resources"]["requests"]["cpu"], "300m",
        "a limit alone is asked for whole"
    );
    let little = cluster.admin.post(&pods, &with_cpu("c", Some("10m"), Some("100m")));
    assert_eq!(little.code, 403);
    assert!(
        little.text().contains("minimum cpu usage per Container is 50m, but request is 10m"),
        "{}",
        little.text()
    );
    let much = cluster.admin.post(&pods, &with_cpu("d", Some("100m"), Some("600m")));
    assert!(
        much.text().contains("maximum cpu usage per Container is 500m, but limit is 600m"),
        "{}",
        much.text()
    );
}

fn a_collection(cluster: &Cluster, namespace: &str) {
    let ranges = path("v1", namespace, "limitranges");
    let range = json!({"metadata": {"name": "l", "labels": {"of": namespace}}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}});
    cluster.create(&ranges, &range);
    let everywhere = format!("/api/v1/limitranges?labelSelector=of%3D{namespace}");
    assert_eq!(cluster.items(&everywhere).len(), 1);
    let patched = cluster.merge(&format!("{ranges}/l"), &json!({"metadata": {"labels": {"l": "patched"}}}));
    assert_eq!(patched["metadata"]["labels"]["l"], "patched");
    cluster.delete(&format!("{ranges}?labelSelector=l%3Dpatched"));
    cluster.until("its end", || cluster.items(&everywhere).is_empty());
}

fn a_priority_class(cluster: &Cluster, namespace: &str) {
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let name = format!("{namespace}-high");
    cluster.create(classes, &json!({"metadata": {"name": name}, "value": 1000, "preemptionPolicy": "Never"}));
    let mut pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    pod["spec"]["priorityClassName"] = name.as_str().into();
    let made = {
        let pods = path("v1", namespace, "pods");
        cluster.until("the class to be known", || {
            cluster.admin.post(&format!("{pods}?dryRun=All"), &pod).code == 201
        });
        cluster.create(&pods, &pod)
    };
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]),
        (&json!(1000), &json!("Never"))
    );
    let changed = cluster.admin.patch(&format!("{classes}/{name}"), "merge", &json!({"value": 7}));
    assert_eq!(changed.code, 422);
    assert!(changed.text().contains("may not be changed in an update."), "{}", changed.text());
    let huge = json!({"metadata": {"name": format!("{namespace}-huge")}, "value": 2_000_000_000_i64});
    assert_eq!(cluster.admin.post(classes, &huge).code, 422);
    cluster.delete(&format!("{classes}/{name}"));
}

fn pod_security(cluster: &Cluster, namespace: &str) {
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
    cluster.merge(&format!("/api/v1/namespaces/{namespace}"), &json!({"metadata": {"labels": labels}}));
    let pods = path("v1", namespace, "pods");
    let mut bad = json!({"metadata": {"name": "bad"}, "spec": pod_spec()});
    bad["spec"]["hostPID"] = true.into();
    let refused = cluster.admin.post(&pods, &bad);
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"bad\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    let warned = cluster.admin.post(&pods, &json!({"metadata": {"name": "plain"}, "spec": pod_spec()}));
    assert_eq!(warned.code, 201);
    let warning = warned.headers.iter().find(|(name, _)| name == "warning").map(|(_, value)| value.clone());
    let warning = warning.expect("a warning");
    assert!(warning.starts_with("299 - \"would violate PodSecurity"), "{warning}");
    let odd = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "odd"}}});
    assert_eq!(cluster.admin.patch(&format!("/api/v1/namespaces/{namespace}"), "merge", &odd).code, 422);
}

fn sysctls(cluster: &Cluster, namespace: &str) {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    pod["spec"]["securityContext"] = json!({"sysctls": [{"name": "foo-", "value": "1"}, {"name": "kernel.shmmax", "value": "1"},
        {"name": "safe-and-unsafe", "value": "1"}, {"name": "bar..", "value": "1"}]});
    let refused = cluster.admin.post(&path("v1", namespace, "pods"), &pod);
    assert_eq!(refused.code, 422);
    for name in ["foo-", "bar.."] {
        assert!(refused.text().contains(&format!("Invalid value: \\\"{name}\\\"")), "{}", refused.text());
    }
}
