//! What a pod needs of other objects: the secrets, configMaps and claims that its node must be able to read. Pure.

use serde_json::Value;

/// The pod runs without the API: its node wrote it here, so what it names gives the node no rights.
pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
}

/// Names of secrets: of environments, volumes, image pulls.
pub fn secrets(pod: &Value) -> Vec<&str> {
    let mut names = environment(pod, "secretKeyRef", "secretRef");
    let pulls = items(&pod["spec"]["imagePullSecrets"]).map(|pull| &pull["name"]);
    names.extend(texts(pulls));
    for volume in items(&pod["spec"]["volumes"]) {
        let mut found = vec![&volume["secret"]["secretName"], &volume["azureFile"]["secretName"]];
        found.push(&volume["csi"]["nodePublishSecretRef"]["name"]);
        for kind in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            found.push(&volume[kind]["secretRef"]["name"]);
        }
        found.extend(items(&volume["projected"]["sources"]).map(|source| &source["secret"]["name"]));
        names.extend(texts(found.into_iter()));
    }
    names
}

/// Names of configMaps.
pub fn config_maps(pod: &Value) -> Vec<&str> {
    let mut names = environment(pod, "configMapKeyRef", "configMapRef");
    for volume in items(&pod["spec"]["volumes"]) {
        let projected = items(&volume["projected"]["sources"]).map(|source| &source["configMap"]["name"]);
        names.extend(texts([&volume["configMap"]["name"]].into_iter().chain(projected)));
    }
    names
}

/// Names of claims, those included that an ephemeral volume makes.
pub fn claims(pod: &Value) -> Vec<String> {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let volumes = items(&pod["spec"]["volumes"]);
    volumes
        .filter_map(|volume| match volume["ephemeral"].is_object() {
            true => Some(format!("{pod_name}-{}", volume["name"].as_str()?)),
            false => volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned),
        })
        .collect()
}

/// Names in the environments of all containers.
fn environment<'a>(pod: &'a Value, of_one: &str, of_all: &str) -> Vec<&'a str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let containers = lists.iter().flat_map(|list| items(&pod["spec"][*list]));
    let mut names = Vec::new();
    for container in containers {
        let one = items(&container["env"]).map(|variable| &variable["valueFrom"][of_one]["name"]);
        let all = items(&container["envFrom"]).map(|source| &source[of_all]["name"]);
        names.extend(texts(one.chain(all)));
    }
    names
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn texts<'a>(values: impl Iterator<Item = &'a Value>) -> impl Iterator<Item = &'a str> {
    values.filter_map(Value::as_str).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_that_a_pod_names() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "imagePullSecrets": [{"name": "s-pull"}],
            "initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s-init"}}}]}],
            "containers": [{
                "env": [{"value": "x"}, {"valueFrom": {"configMapKeyRef": {"name": "c-env"}}}],
                "envFrom": [{"secretRef": {"name": "s-from"}}, {"configMapRef": {"name": "c-from"}}],
            }],
            "ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "c-debug"}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "s-volume"}},
                {"name": "b", "configMap": {"name": "c-volume"}},
                {"name": "c", "projected": {"sources": [
                    {"secret": {"name": "s-projected"}}, {"configMap": {"name": "c-projected"}}, {"serviceAccountToken": {}}
                ]}},
                {"name": "d", "csi": {"nodePublishSecretRef": {"name": "s-csi"}}},
                {"name": "e", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "f", "ephemeral": {}},
            ],
        }});
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(sorted(secrets(&pod)), "s-csi s-from s-init s-projected s-pull s-volume");
        assert_eq!(sorted(config_maps(&pod)), "c-debug c-env c-from c-projected c-volume");
        assert_eq!(claims(&pod), ["claim", "p-f"]);
        assert!(
            secrets(&json!({})).is_empty()
                && config_maps(&json!({})).is_empty()
                && claims(&json!({})).is_empty()
        );
    }
}
