//! What the demonstration asks the API for.

use serde_json::{Value, json};

use super::image::NAME;
use super::workload::{FIRST_ANSWER_LIMIT, PORT};

pub const NAMESPACE: &str = "default";
pub const WEB: &str = "web";
pub const CALLER: &str = "caller";
/// The Service's port.
pub const SERVICE_PORT: u16 = 80;

/// `replicas` web servers.
pub fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": WEB, "labels": {"app": WEB}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": WEB}},
            "template": {
                "metadata": {"labels": {"app": WEB}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": WEB,
                        "image": NAME,
                        "imagePullPolicy": "Never",
                        "ports": [{"containerPort": PORT}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "16Mi"},
                            "limits": {"memory": "64Mi"},
                        },
                        "securityContext": confined(),
                    }],
                },
            },
        },
    })
}

/// One address for all of them, and one port on every node.
pub fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": WEB, "labels": {"app": WEB}},
        "spec": {
            "type": "NodePort",
            "selector": {"app": WEB},
            "ports": [{"port": SERVICE_PORT, "targetPort": PORT}],
        },
    })
}

/// A pod that calls the Service by its name until so many pods have answered, and ends.
pub fn caller(pods: u32, domain: &str) -> Value {
    let target = format!("{WEB}.{NAMESPACE}.svc.{domain}:{SERVICE_PORT}");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CALLER},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "containers": [{
                "name": CALLER,
                "image": NAME,
                "imagePullPolicy": "Never",
                "args": ["--call", target, "--pods", pods.to_string(), "--first-answer-within", FIRST_ANSWER_LIMIT.as_secs().to_string()],
                "securityContext": confined(),
            }],
        },
    })
}

fn confined() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}
