//! What goes with what: cascades of all three kinds, namespaces, Services and their slices.

use super::{Cluster, kubectl_or_skip};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

#[test]
fn deletions_cascade_as_asked() {
    if !kubectl_or_skip("deletions_cascade_as_asked") {
        return;
    }
    let cluster = Cluster::start();
    for (cascade, left) in [("background", 0), ("foreground", 0), ("orphan", 2)] {
        cluster.kubectl("create deployment web --image=v1 --replicas=2");
        cluster.until("two pods", || cluster.pods().len() == 2);
        cluster.kubectl(&format!("delete deployment web --cascade={cascade} --timeout=60s"));
        cluster.until(cascade, || cluster.pods().len() == left && cluster.sets().len() == left.min(1));
    }
    let sets = || cluster.items("/apis/apps/v1/namespaces/default/replicasets");
    cluster
        .until("no owner", || sets()[0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    // A Deployment that comes back takes its orphan again.
    let uid = sets()[0]["metadata"]["uid"].clone();
    cluster.kubectl("create deployment web --image=v1 --replicas=2");
    cluster.until("adopted", || {
        let sets = sets();
        sets.len() == 1
            && sets[0]["metadata"]["uid"] == uid
            && !sets[0]["metadata"]["ownerReferences"].is_null()
    });
}

#[test]
fn a_namespace_takes_all_with_it() {
    if !kubectl_or_skip("a_namespace_takes_all_with_it") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create namespace t");
    cluster.until("its root CA", || {
        cluster.admin.get("/api/v1/namespaces/t/configmaps/kube-root-ca.crt").code == 200
    });
    cluster.kubectl("create -n t deployment web --image=v1 --replicas=3");
    cluster.kubectl("create -n t secret generic s --from-literal=a=b");
    cluster.until("three pods", || cluster.items("/api/v1/namespaces/t/pods").len() == 3);
    cluster.kubectl("delete namespace t --timeout=60s");
    assert_eq!(cluster.admin.get("/api/v1/namespaces/t").code, 404);
    for path in [
        "/api/v1/namespaces/t/secrets",
        "/api/v1/namespaces/t/pods",
        "/apis/apps/v1/namespaces/t/replicasets",
    ] {
        assert_eq!(cluster.items(path).len(), 0, "{path}");
    }
}

#[test]
fn a_service_has_slices_of_its_pods() {
    if !kubectl_or_skip("a_service_has_slices_of_its_pods") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create deployment web --image=v1 --replicas=2");
    cluster.kubectl("expose deployment web --port=80 --target-port=8080");
    let ready = || {
        let slices: Vec<_> = cluster
            .items(SLICES)
            .into_iter()
            .filter(|s| s["metadata"]["labels"]["kubernetes.io/service-name"] == "web")
            .collect();
        let endpoints =
            slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        (slices.len(), endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true).count())
    };
    cluster.until("a slice", || ready() == (1, 0));
    cluster.until_rolled_out("v1", 2);
    cluster.until("two ready endpoints", || ready() == (1, 2));
    cluster.kubectl("scale deployment web --replicas=1");
    cluster.until("one ready endpoint", || ready() == (1, 1));
    cluster.kubectl("delete service web");
    cluster.until("no slice", || ready().0 == 0);
}
