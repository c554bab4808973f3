//! RuntimeClass: a pod of a class carries the overhead of its class, and goes where the class says.

use api::status::{Qualified, Status};
use serde_json::Value;

use super::name_of;
use crate::registry;
use crate::server::Server;

pub(super) fn admit(server: &Server, pod: &mut Value) -> Result<(), Status> {
    let refused = |pod: &Value, why: String| {
        Err(Status::forbidden(Qualified { group: "", name: "pods" }, name_of(pod), why))
    };
    let Some(name) = pod["spec"]["runtimeClassName"].as_str().map(str::to_owned) else {
        return match pod["spec"]["overhead"].as_object().is_some_and(|overhead| !overhead.is_empty()) {
            true => refused(
                pod,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into(),
            ),
            false => Ok(()),
        };
    };
    let kind = server.registry.by_resource("node.k8s.io", "v1", "runtimeclasses");
    // The store, not the cache: the class may have been made a moment ago.
    let (_, class) = registry::read(server, kind.ok_or_else(Status::no_such_path)?, &name)?;
    let Some(class) = class else {
        return refused(pod, format!("pod rejected: RuntimeClass \"{name}\" not found"));
    };
    give(pod, &class).or_else(|why| refused(pod, why))
}

fn give(pod: &mut Value, class: &Value) -> Result<(), String> {
    let overhead = &class["overhead"]["podFixed"];
    let own = &pod["spec"]["overhead"];
    if own.as_object().is_some_and(|own| !own.is_empty()) && own != overhead {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
    }
    if overhead.is_object() {
        pod["spec"]["overhead"] = overhead.clone();
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let selector = &mut pod["spec"]["nodeSelector"];
        match selector.get(key) {
            Some(known) if known != value => {
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    value.as_str().unwrap_or_default(),
                    known.as_str().unwrap_or_default()
                ));
            }
            Some(_) => {}
            None => selector[key] = value.clone(),
        }
    }
    for toleration in scheduling["tolerations"].as_array().into_iter().flatten() {
        let mut all = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        if !all.contains(toleration) {
            all.push(toleration.clone());
            pod["spec"]["tolerations"] = all.into();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_gives_overhead_and_place() {
        let class =
            json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {"nodeSelector": {"a": "b"}}});
        let mut pod = json!({"spec": {"runtimeClassName": "r"}});
        give(&mut pod, &class).unwrap();
        assert_eq!(pod["spec"]["overhead"], json!({"cpu": "10m"}));
        assert_eq!(pod["spec"]["nodeSelector"], json!({"a": "b"}));
        pod["spec"]["nodeSelector"]["a"] = "c".into();
        assert!(give(&mut pod, &class).unwrap_err().starts_with("conflict: "));
        let mut heavy = json!({"spec": {"overhead": {"cpu": "1"}}});
        assert!(give(&mut heavy, &class).is_err());
    }
}
