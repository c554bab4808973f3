//! Pods that mount images as volumes, on a node with every part real: pulls, their events and failures, parts of images.

use harness::image::{Compression, ImageBuilder, Layer};
use harness::node::{Node, stage};
use serde_json::{Value, json};

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

fn events(node: &Node, pod: &str) -> Vec<(String, String, String)> {
    let path = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={pod}");
    let list = node.admin.get(&path).expect(200);
    let text = |event: &Value, pointer: &str| {
        event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let told = |event: &Value| {
        (text(event, "/reason"), text(event, "/message"), text(event, "/involvedObject/fieldPath"))
    };
    list["items"].as_array().into_iter().flatten().map(told).collect()
}

fn until_told(node: &mut Node, pod: &str, reason: &str, message: &str, field: &str) {
    node.until(&format!("{pod}: {reason} {message} {field:?}"), |node| {
        events(node, pod)
            .iter()
            .any(|(why, said, path)| why == reason && said.contains(message) && path == field)
    });
}

fn pod(node: &Node, name: &str, script: &str, mounts: Value, reference: &str, policy: &str) {
    let container =
        json!({"name": "c", "image": node.image, "command": ["sh", "-c", script], "volumeMounts": mounts});
    node.pod(
        name,
        json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container],
            "volumes": [{"name": "models", "image": {"reference": reference, "pullPolicy": policy}}],
        }),
    );
}

#[test]
fn pods_mount_images() {
    stage("pods_mount_images", KEELSON, |node| {
        let layer =
            Layer::new().folder("dir/", 0o755).file("dir/weights", 0o644, b"42").file("top", 0o644, b"7");
        let image = ImageBuilder::new().layer(layer, Compression::Gzip).build();
        let reference = node.registry.push("models", "1", &image);
        let mounts = json!([
            {"name": "models", "mountPath": "/models"},
            {"name": "models", "mountPath": "/part", "subPath": "dir"},
            {"name": "models", "mountPath": "/file", "subPathExpr": "dir/weights"},
        ]);
        let script = "cat /models/top /part/weights /file && ! touch /models/x 2>/dev/null && test -e /models/dir/weights";
        pod(node, "reads", script, mounts.clone(), &reference, "Always");
        let status = node.until_pod("reads", "ends", |status| {
            status["phase"] != "Pending" && status["phase"] != "Running"
        });
        assert_eq!(status["phase"], "Succeeded", "{status:#} {:#?}", events(node, "reads"));
        // What happens to a volume's image is told about the pod, what happens to a container's about the container.
        until_told(node, "reads", "Pulling", &format!("Pulling image {reference:?}"), "");
        until_told(node, "reads", "Pulled", &format!("Successfully pulled image {reference:?}"), "");
        until_told(node, "reads", "Pulled", "", "spec.containers{c}");

        let wrong = json!([{"name": "models", "mountPath": "/part", "subPath": "none"}]);
        pod(node, "wrong-path", "true", wrong, &reference, "IfNotPresent");
        node.until_waiting("wrong-path", "CreateContainerError", "sub path \"none\"");
        let missing = format!("{}:none", reference.rsplit_once(':').expect("a tag").0);
        pod(node, "missing", "true", mounts.clone(), &missing, "IfNotPresent");
        // ErrImagePull itself stands for an instant; its event below stays.
        node.until_waiting("missing", "ImagePullBackOff", &format!("Back-off pulling image {missing:?}"));
        until_told(node, "missing", "Failed", &format!("Failed to pull image {missing:?}"), "");
        until_told(node, "missing", "Failed", "Error: ErrImagePull", "spec.containers{c}");
        until_told(node, "missing", "BackOff", &format!("Back-off pulling image {missing:?}"), "");
        pod(node, "never", "true", mounts, &missing, "Never");
        node.until_waiting("never", "ErrImageNeverPull", "is not present with pull policy of Never");
        for name in ["reads", "wrong-path", "missing", "never"] {
            node.kubectl(&format!("delete pod {name} --wait=false"));
        }
        node.until("no pods are left", |node| node.pods().is_empty());
    });
}
