//! Deployments with kubectl: create, scale, set image, undo; with the controllers killed in the middle.

use std::collections::BTreeSet;

use super::{Cluster, kubectl_or_skip};

#[test]
fn a_deployment_is_made_scaled_changed_and_taken_back() {
    if !kubectl_or_skip("a_deployment_is_made_scaled_changed_and_taken_back") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create deployment web --image=v1 --replicas=4");
    cluster.until("four pods", || cluster.pods().len() == 4);
    assert_eq!(cluster.sets().len(), 1);
    let set = &cluster.items("/apis/apps/v1/namespaces/default/replicasets")[0];
    let name = set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let told = format!("Scaled up replica set {name} from 0 to 4");
    cluster.until("the event", || cluster.kubectl("get events").contains(&told));
    cluster.until_rolled_out("v1", 4);
    for size in [7, 0, 4] {
        cluster.kubectl(&format!("scale deployment web --replicas={size}"));
        cluster.until(&format!("{size} pods"), || cluster.pods().len() == size);
    }
    cluster.until_rolled_out("v1", 4);
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    cluster.kubectl("set image deployment/web v1=v2");
    cluster.until_rolled_out("v2", 4);
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    cluster.kubectl("rollout undo deployment/web");
    cluster.until_rolled_out("v1", 4);
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    let history = cluster.kubectl("rollout history deployment/web");
    assert!(history.contains("\n2 ") && history.contains("\n3 ") && !history.contains("\n1 "), "{history}");
    assert_eq!(cluster.pods().len(), 4);
}

#[test]
fn a_rolling_update_keeps_its_promise() {
    if !kubectl_or_skip("a_rolling_update_keeps_its_promise") {
        return;
    }
    let cluster = Cluster::start();
    cluster.kubectl("create deployment web --image=v1 --replicas=4");
    cluster.until_rolled_out("v1", 4);
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    cluster.kubectl("set image deployment/web v1=v2");
    // 25 % of four: never fewer than three ready, never more than five in all.
    let wanted = [("v2".to_owned(), 4, 4)];
    let mut seen = BTreeSet::new();
    cluster.until("the new pods", || {
        let pods = cluster.pods();
        let ready = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        assert!(ready >= 3 && pods.len() <= 5, "{ready} ready of {}", pods.len());
        seen.insert((ready, pods.len()));
        if let Some(pod) = pods.iter().find(|pod| pod["status"]["phase"] != "Running") {
            let name = pod["metadata"]["name"].as_str().unwrap_or("?");
            let status = serde_json::json!({"status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            cluster.admin.patch(
                &format!("/api/v1/namespaces/default/pods/{name}/status"),
                "strategic-merge",
                &status,
            );
        }
        cluster.sets() == wanted
    });
    assert!(seen.len() > 1, "the rollout was seen under way");
}

#[test]
fn killed_in_the_middle_it_goes_on() {
    if !kubectl_or_skip("killed_in_the_middle_it_goes_on") {
        return;
    }
    let mut cluster = Cluster::start();
    cluster.kubectl("create deployment web --image=v1 --replicas=6");
    cluster.until_rolled_out("v1", 6);
    for round in 0..6 {
        let image = format!("v{}", round + 2);
        cluster.kubectl("rollout status deployment/web --timeout=60s");
        cluster.kubectl(&format!("set image deployment/web v1={image}"));
        // Kill earlier and later in the rollout.
        for _ in 0..round {
            cluster.make_pods_ready();
        }
        cluster.kill_controllers();
        cluster.make_pods_ready();
        cluster.start_controllers();
        cluster.until_rolled_out(&image, 6);
        cluster.until("exactly six pods", || cluster.pods().len() == 6);
    }
}
