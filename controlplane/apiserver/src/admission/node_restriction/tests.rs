//! A hostile node tries one thing at a time.

use super::*;
use serde_json::json;

#[test]
fn its_own_node_without_what_draws_work_to_it() {
    use Operation::{Create, Update};
    let node = |labels: Value, taints: Value| json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}});
    let check = |operation, name: &str, old: Value, new: Value, expect: Result<(), &str>| {
        let found = node_object("n", operation, name, &old, &new);
        assert_eq!(found, expect.map_err(str::to_owned), "{operation:?} {old} {new}");
    };
    let plain = || node(json!({"kubernetes.io/hostname": "n"}), Value::Null);
    check(Create, "n", Value::Null, plain(), Ok(()));
    check(
        Create,
        "n",
        Value::Null,
        node(
            json!({"team": "a", "node.kubernetes.io/x": "", "a.kubelet.kubernetes.io/y": ""}),
            json!([{"key": "k"}]),
        ),
        Ok(()),
    );
    check(Create, "m", Value::Null, plain(), Err("node \"n\" is not allowed to modify node \"m\""));
    check(Update, "m", plain(), plain(), Err("node \"n\" is not allowed to modify node \"m\""));
    let steering = json!({"node-restriction.kubernetes.io/fips": "true", "node-role.kubernetes.io/control-plane": "", "x.k8s.io/y": ""});
    check(
        Create,
        "n",
        Value::Null,
        node(steering.clone(), Value::Null),
        Err(
            "node \"n\" is not allowed to set the following labels: node-restriction.kubernetes.io/fips, node-role.kubernetes.io/control-plane, x.k8s.io/y",
        ),
    );
    check(
        Update,
        "n",
        node(steering.clone(), Value::Null),
        plain(),
        Err(
            "is not allowed to modify labels: node-restriction.kubernetes.io/fips, node-role.kubernetes.io/control-plane, x.k8s.io/y",
        ),
    );
    check(Update, "n", node(steering.clone(), Value::Null), node(steering, Value::Null), Ok(()));
    check(
        Update,
        "n",
        plain(),
        node(json!({"kubernetes.io/hostname": "n", "mine": "x"}), Value::Null),
        Ok(()),
    );
    let tainted = || node(json!({}), json!([{"key": "k", "effect": "NoSchedule"}]));
    check(Update, "n", tainted(), plain(), Err("node \"n\" is not allowed to modify taints"));
    check(Update, "n", plain(), tainted(), Err("node \"n\" is not allowed to modify taints"));
    check(Update, "n", node(json!({}), Value::Null), node(json!({}), json!([])), Ok(()));
    let owned = json!({"metadata": {"name": "n", "ownerReferences": [{"uid": "u"}]}});
    check(
        Update,
        "n",
        json!({"metadata": {"name": "n"}}),
        owned,
        Err("node \"n\" is not allowed to modify ownerReferences"),
    );
}

#[test]
fn only_pods_that_are_bound_to_it() {
    use Operation::{Create, Delete, Update};
    let of = |node: &str| json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": node}});
    let check = |operation, subresource: &str, old: Value, new: Value, expect: Result<(), &str>| {
        let found = pod("n", operation, subresource, &old, &new);
        assert_eq!(found, expect.map_err(str::to_owned), "{operation:?} {subresource} {old}");
    };
    check(Delete, "", of("n"), Value::Null, Ok(()));
    check(
        Delete,
        "",
        of("m"),
        Value::Null,
        Err("node \"n\" can only delete pods with spec.nodeName set to itself"),
    );
    check(
        Delete,
        "",
        of(""),
        Value::Null,
        Err("node \"n\" can only delete pods with spec.nodeName set to itself"),
    );
    check(Delete, "eviction", of("n"), Value::Null, Ok(()));
    check(
        Delete,
        "eviction",
        of("m"),
        Value::Null,
        Err("node n can only evict pods with spec.nodeName set to itself"),
    );
    check(Update, "status", of("n"), of("n"), Ok(()));
    check(
        Update,
        "status",
        of("m"),
        of("m"),
        Err("node \"n\" can only update pod status for pods with spec.nodeName set to itself"),
    );
    let mut relabelled = of("n");
    relabelled["metadata"]["labels"]["a"] = "c".into();
    check(Update, "status", of("n"), relabelled, Err("node \"n\" cannot update labels through pod status"));
    let mut claiming = of("n");
    claiming["status"]["resourceClaimStatuses"] = json!([{"name": "x"}]);
    check(Update, "status", of("n"), claiming, Err("node \"n\" cannot update resource claim statues"));
    check(
        Update,
        "",
        of("n"),
        of("n"),
        Err("unexpected operation \"UPDATE\", node \"n\" can only create and delete mirror pods"),
    );
    for other in ["binding", "ephemeralcontainers", "resize"] {
        let why = format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed");
        check(Update, other, of("n"), of("n"), Err(&why));
    }
    check(
        Create,
        "",
        Value::Null,
        of("n"),
        Err(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
        ),
    );
}

#[test]
fn mirror_pods_name_nothing() {
    let mirror = || {
        json!({
            "metadata": {
                "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        })
    };
    let check = |change: &dyn Fn(&mut Value), expect: Result<(), &str>| {
        let mut pod = mirror();
        change(&mut pod);
        assert_eq!(mirror_pod("n", &pod), expect.map_err(str::to_owned), "{pod}");
    };
    check(&|_| {}, Ok(()));
    check(
        &|pod| pod["spec"]["nodeName"] = "m".into(),
        Err("node \"n\" can only create pods with spec.nodeName set to itself"),
    );
    check(
        &|pod| pod["metadata"]["ownerReferences"] = json!([]),
        Err("node \"n\" can only create pods with an owner reference set to itself"),
    );
    check(
        &|pod| pod["metadata"]["ownerReferences"] = json!([{}, {}]),
        Err("node \"n\" can only create pods with a single owner reference set to itself"),
    );
    check(
        &|pod| pod["metadata"]["ownerReferences"][0]["name"] = "m".into(),
        Err("node \"n\" can only create pods with an owner reference set to itself"),
    );
    check(
        &|pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into(),
        Err("node \"n\" can only create pods with a controller owner reference set to itself"),
    );
    check(
        &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = true.into(),
        Err("node \"n\" must not set blockOwnerDeletion on an owner reference"),
    );
    for (change, what) in [
        (json!({"serviceAccountName": "admin"}), "a service account"),
        (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
        (json!({"volumes": [{"configMap": {"name": "c"}}]}), "configmaps"),
        (
            json!({"volumes": [{"projected": {"sources": [{"clusterTrustBundle": {}}]}}]}),
            "clustertrustbundles",
        ),
        (json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}), "persistentvolumeclaims"),
        (json!({"resourceClaims": [{"name": "c"}]}), "resourceclaims"),
    ] {
        let why = format!("node \"n\" can not create pods that reference {what}");
        check(
            &|pod| pod["spec"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone()),
            Err(&why),
        );
    }
}

#[test]
fn its_own_lease() {
    assert_eq!(lease("n", "kube-node-lease", "n"), Ok(()));
    assert!(lease("n", "kube-node-lease", "m").is_err());
    assert!(lease("n", "kube-system", "n").is_err());
}

#[test]
fn slices_of_dns_on_itself() {
    let of = |service: &str, nodes: &[&str]| {
        let endpoints: Vec<Value> =
            nodes.iter().map(|node| json!({"addresses": ["192.0.2.1"], "nodeName": node})).collect();
        json!({"metadata": {"name": "s", "labels": {"kubernetes.io/service-name": service}}, "endpoints": endpoints})
    };
    let foreign = "node \"n\" can only write slices with endpoints on itself";
    for (old, new, expect) in [
        (Value::Null, of("kube-dns", &["n"]), Ok(())),
        (of("kube-dns", &["n"]), of("kube-dns", &["n"]), Ok(())),
        (Value::Null, of("kube-dns", &["m"]), Err(foreign)),
        (of("kube-dns", &["m"]), of("kube-dns", &["n"]), Err(foreign)),
        (of("kube-dns", &[]), of("kube-dns", &["n"]), Err(foreign)),
        (Value::Null, of("web", &["n"]), Err("node \"n\" can only write slices of the Service kube-dns")),
    ] {
        assert_eq!(slice("n", &old, &new), expect.map_err(str::to_owned), "{old} {new}");
    }
}
