//! ServiceAccount: every pod has an account, which must exist, and its token where it does not refuse it.

use api::status::{Qualified, Status};
use serde_json::{Value, json};

use super::{Attributes, name_of};
use crate::registry;
use crate::server::Server;

/// Where clients within a pod look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds that a mounted token is good for; the kubelet renews it before. Upstream's figure.
const TOKEN_SECONDS: i64 = 3607;
/// Letters of a generated volume name.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) fn admit(server: &Server, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    let namespace = attributes.request.info.namespace.as_str();
    let refused = |pod: &Value, why: String| {
        Err(Status::forbidden(Qualified { group: "", name: "pods" }, name_of(pod), why))
    };
    // A pod that a kubelet mirrors runs already.
    if pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string() {
        return match pod["spec"]["serviceAccountName"].as_str() {
            Some(name) if !name.is_empty() => {
                refused(pod, "a mirror pod may not reference service accounts".into())
            }
            _ => Ok(()),
        };
    }
    let name = match pod["spec"]["serviceAccountName"].as_str().unwrap_or_default() {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    pod["spec"]["serviceAccountName"] = name.clone().into();
    let kind = server.registry.by_resource("", "v1", "serviceaccounts").ok_or_else(Status::no_such_path)?;
    let (_, account) = registry::read(server, kind, &registry::object_key(kind, namespace, &name))?;
    let Some(account) = account else {
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return refused(pod, why);
    };
    let wants = |object: &Value| object["automountServiceAccountToken"].as_bool();
    if wants(&pod["spec"]).or(wants(&account)).unwrap_or(true) {
        mount_token(server, pod);
    }
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && let Some(secrets) = account["imagePullSecrets"].as_array().filter(|secrets| !secrets.is_empty())
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone().into();
    }
    Ok(())
}

/// Gives each container that has nothing there a volume of token, root certificate and namespace.
fn mount_token(server: &Server, pod: &mut Value) {
    let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let known = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let present = known.into_iter().find(|name| name.starts_with("kube-api-access-")).map(str::to_owned);
    let volume = present.clone().unwrap_or_else(|| {
        let letter = || char::from(LETTERS[server.random(LETTERS.len() as u64) as usize]);
        format!("kube-api-access-{}", (0..5).map(|_| letter()).collect::<String>())
    });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        // Not by index, which would leave a null where there is no list.
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if !mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
                container["volumeMounts"] = mounts.into();
                mounted = true;
            }
        }
    }
    if mounted && present.is_none() {
        volumes.push(json!({"name": volume, "projected": {"sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}
        ], "defaultMode": 420}}));
        pod["spec"]["volumes"] = volumes.into();
    }
}
