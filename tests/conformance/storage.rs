//! Volumes that an administrator made, the claims that they are bound to, and their protection.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, pod_spec};

pub(super) const ALL: &[Behaviour] = &[
    ("a claim is bound to a volume that fits, which is released with it", bound),
    ("a claim whose class waits for its first consumer is told so, and gets what the scheduler chose", waits),
    ("a claim in use stays until its pod is over", protected),
    ("a claim without a class gets the default one", default_class),
    ("a pod may ask for an inline volume of a driver", inline),
];

fn volume(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": class, "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp/x"}}})
}

fn claim(name: &str, class: Option<&str>) -> Value {
    let mut claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = class.into();
    }
    claim
}

fn bound(cluster: &Cluster, namespace: &str) {
    let (volumes, claims) = ("/api/v1/persistentvolumes", path("v1", namespace, "persistentvolumeclaims"));
    let class = format!("manual-{namespace}");
    cluster.create(volumes, &volume(namespace, &class));
    cluster.until_shows("it to be available", &format!("{volumes}/{namespace}"), |v| {
        v["status"]["phase"] == "Available"
    });
    cluster.create(&claims, &claim("c", Some(&class)));
    let shown = cluster
        .until_shows("both bound", &format!("{claims}/c"), |claim| claim["status"]["phase"] == "Bound");
    assert_eq!(
        (&shown["spec"]["volumeName"], &shown["status"]["capacity"]["storage"]),
        (&json!(namespace), &json!("2Gi"))
    );
    cluster.until_shows("the volume bound", &format!("{volumes}/{namespace}"), |v| {
        v["status"]["phase"] == "Bound"
    });
    cluster.delete(&format!("{claims}/c"));
    cluster.until("the claim's end", || cluster.is_gone(&format!("{claims}/c")));
    cluster.until_shows("it to be released", &format!("{volumes}/{namespace}"), |v| {
        v["status"]["phase"] == "Released"
    });
    cluster.delete(&format!("{volumes}/{namespace}"));
    cluster.until("its end", || cluster.is_gone(&format!("{volumes}/{namespace}")));
}

fn waits(cluster: &Cluster, namespace: &str) {
    let (volumes, claims) = ("/api/v1/persistentvolumes", path("v1", namespace, "persistentvolumeclaims"));
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({"metadata": {"name": namespace}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    cluster.create(classes, &class);
    cluster.create(volumes, &volume(namespace, namespace));
    cluster.until_shows("it to be available", &format!("{volumes}/{namespace}"), |v| {
        v["status"]["phase"] == "Available"
    });
    let made = cluster.create(&claims, &claim("c", Some(namespace)));
    let told = |reason: &str, message: &str| {
        let events = cluster.items(&path("v1", namespace, "events"));
        events.iter().any(|event| event["reason"] == reason && event["message"] == message)
    };
    cluster.until("the claim to be told", || {
        told("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    });
    let mut pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    cluster.create(&path("v1", namespace, "pods"), &pod);
    cluster.until("the claim to be told for whom", || {
        told("WaitForPodScheduled", "waiting for pod p to be scheduled")
    });
    let waiting = cluster.get(&format!("{claims}/c"));
    assert_eq!(
        (&waiting["status"]["phase"], &waiting["spec"]["volumeName"]),
        (&json!("Pending"), &json!(null))
    );
    // What the scheduler writes.
    let reference = json!({"namespace": namespace, "name": "c", "uid": made["metadata"]["uid"]});
    cluster.merge(&format!("{volumes}/{namespace}"), &json!({"spec": {"claimRef": reference}}));
    cluster
        .until_shows("it to be bound", &format!("{claims}/c"), |claim| claim["status"]["phase"] == "Bound");
    for gone in [format!("{claims}/c"), format!("{volumes}/{namespace}"), format!("{classes}/{namespace}")] {
        cluster.delete(&gone);
    }
}

fn protected(cluster: &Cluster, namespace: &str) {
    let (claims, pods) = (path("v1", namespace, "persistentvolumeclaims"), path("v1", namespace, "pods"));
    cluster.create(&claims, &claim("c", Some("none-such")));
    let mut pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    pod["spec"]["nodeName"] = "somewhere".into();
    pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    cluster.create(&pods, &pod);
    cluster.delete(&format!("{claims}/c"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(cluster.get(&format!("{claims}/c"))["metadata"]["deletionTimestamp"].is_string());
    cluster.say(namespace, "p", "Succeeded");
    cluster.until("its end", || cluster.is_gone(&format!("{claims}/c")));
}

fn default_class(cluster: &Cluster, namespace: &str) {
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({"metadata": {"name": namespace, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.test/p"});
    cluster.create(classes, &class);
    let claims = path("v1", namespace, "persistentvolumeclaims");
    cluster.until("the class to be known", || {
        let answer = cluster.admin.post(&format!("{claims}?dryRun=All"), &claim("c", None));
        answer.code == 201 && answer.json()["spec"]["storageClassName"] == namespace
    });
    let none = cluster.create(&claims, &claim("none", Some("")));
    assert_eq!(none["spec"]["storageClassName"], "");
    let fixed =
        cluster.admin.patch(&format!("{classes}/{namespace}"), "merge", &json!({"provisioner": "other"}));
    assert_eq!(fixed.code, 422);
    cluster.delete(&format!("{classes}/{namespace}"));
}

fn inline(cluster: &Cluster, namespace: &str) {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": pod_spec()});
    pod["spec"]["volumes"] =
        json!([{"name": "v", "csi": {"driver": "example.test", "volumeAttributes": {"a": "b"}}}]);
    let made = cluster.create(&path("v1", namespace, "pods"), &pod);
    let volumes = made["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    assert!(volumes.iter().any(|volume| volume["csi"]["driver"] == "example.test"));
}
