//! A node's status: what it has, where it is, and whether pods can run on it.

use api::quantity::{Format, Quantity};
use api::time::format_seconds;
use cri_api::v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::NodeOptions;
use super::machine::{self, Pressure};
use crate::resources::Amounts;
use crate::runtime::Runtime;

/// Images listed in the status, the largest first, as upstream's default.
const IMAGES_MAX: usize = 50;
/// Names per image.
const NAMES_MAX: usize = 5;

/// What the runtime says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeState {
    Ready,
    /// Why pods cannot run.
    NotReady(String),
}

/// What changes while the kubelet runs.
#[derive(Clone, Debug)]
pub struct Observed {
    pub runtime: RuntimeState,
    pub handlers: Vec<v1::RuntimeHandler>,
    pub features: Option<v1::RuntimeFeatures>,
    pub images: Vec<v1::Image>,
    pub pressure: Pressure,
}

pub(super) async fn observe(runtime: &Runtime, options: &NodeOptions) -> Observed {
    let request = v1::StatusRequest { verbose: false };
    let (state, handlers, features) = match runtime.service().status(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            (judge(&answer.status.unwrap_or_default().conditions), answer.runtime_handlers, answer.features)
        }
        Err(status) => {
            let why =
                format!("container runtime status check may not have completed yet: {}", status.message());
            (RuntimeState::NotReady(why), Vec::new(), None)
        }
    };
    let images = runtime.images().list_images(v1::ListImagesRequest::default()).await;
    let images = images.map(|answer| answer.into_inner().images).unwrap_or_default();
    let pressure = machine::pressure(&options.root, &options.thresholds);
    Observed { runtime: state, handlers, features, images, pressure }
}

fn judge(conditions: &[v1::RuntimeCondition]) -> RuntimeState {
    let find = |kind: &str| conditions.iter().find(|condition| condition.r#type == kind);
    for (kind, noun) in [
        ("RuntimeReady", "container runtime not ready"),
        ("NetworkReady", "container runtime network not ready"),
    ] {
        match find(kind) {
            Some(condition) if condition.status => {}
            Some(condition) => {
                let (reason, message) = (&condition.reason, &condition.message);
                return RuntimeState::NotReady(format!(
                    "{noun}: {kind}=false reason:{reason} message:{message}"
                ));
            }
            None => return RuntimeState::NotReady(format!("{noun}: {kind} is not told")),
        }
    }
    RuntimeState::Ready
}

/// The whole status.
pub(super) fn of(options: &NodeOptions, observed: &Observed, before: &Value, now: Timestamp) -> Value {
    let mut status = json!({
        "capacity": quantities(&options.capacity),
        "allocatable": quantities(&options.facts.allocatable),
        "conditions": conditions(observed, before, now),
        "addresses": addresses(options),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": options.port}},
        "nodeInfo": info(options),
    });
    if !observed.images.is_empty() {
        status["images"] = images(&observed.images);
    }
    if !observed.handlers.is_empty() {
        status["runtimeHandlers"] = handlers(&observed.handlers);
    }
    if let Some(features) = &observed.features {
        status["features"] = json!({"supplementalGroupsPolicy": features.supplemental_groups_policy});
    }
    status
}

fn quantities(amounts: &Amounts) -> Value {
    let mut out = Map::new();
    let binary =
        |bytes: i64| Value::from(Quantity::from_units(bytes / 1024 * 1024, Format::BinarySi).to_string());
    out.insert("cpu".into(), Quantity::from_millis(amounts.cpu_millis).to_string().into());
    out.insert("ephemeral-storage".into(), binary(amounts.ephemeral_storage));
    for (name, bytes) in &amounts.others {
        out.insert(name.clone(), binary(*bytes));
    }
    out.insert("memory".into(), binary(amounts.memory));
    out.insert("pods".into(), amounts.pods.to_string().into());
    Value::Object(out)
}

fn addresses(options: &NodeOptions) -> Value {
    let ips =
        options.facts.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}));
    ips.chain(std::iter::once(json!({"type": "Hostname", "address": options.facts.name}))).collect()
}

fn info(options: &NodeOptions) -> Value {
    let machine = &options.machine;
    json!({
        "machineID": machine.machine_id,
        "systemUUID": machine.system_uuid,
        "bootID": machine.boot_id,
        "kernelVersion": machine.kernel,
        "osImage": machine.os_image,
        "containerRuntimeVersion": options.runtime_version,
        "kubeletVersion": concat!("v1.36.0+keelson.", env!("CARGO_PKG_VERSION")),
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": machine.architecture,
    })
}

fn images(images: &[v1::Image]) -> Value {
    let mut sorted: Vec<&v1::Image> = images.iter().collect();
    sorted.sort_by_key(|image| (std::cmp::Reverse(image.size), image.id.clone()));
    let shown = sorted.into_iter().take(IMAGES_MAX).map(|image| {
        let names: Vec<&String> = image.repo_digests.iter().chain(&image.repo_tags).take(NAMES_MAX).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    shown.collect()
}

fn handlers(handlers: &[v1::RuntimeHandler]) -> Value {
    let shown = handlers.iter().map(|handler| {
        let features = handler.features.unwrap_or_default();
        json!({"name": handler.name, "features": {
            "recursiveReadOnlyMounts": features.recursive_read_only_mounts,
            "userNamespaces": features.user_namespaces,
        }})
    });
    shown.collect()
}

fn conditions(observed: &Observed, before: &Value, now: Timestamp) -> Value {
    let pressure = &observed.pressure;
    let pick = |holds: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if holds { yes } else { no }
    };
    let memory = pick(
        pressure.memory,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pick(
        pressure.disk,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pids = pick(
        pressure.pids,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let (is_ready, reason, message) = match &observed.runtime {
        RuntimeState::Ready => (true, "KubeletReady", "kubelet is posting ready status"),
        RuntimeState::NotReady(why) => (false, "KubeletNotReady", why.as_str()),
    };
    let rows = [
        ("MemoryPressure", pressure.memory, memory.0, memory.1),
        ("DiskPressure", pressure.disk, disk.0, disk.1),
        ("PIDPressure", pressure.pids, pids.0, pids.1),
        ("Ready", is_ready, reason, message),
    ];
    let at = format_seconds(now);
    let written = rows.map(|(kind, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let mut known = before["conditions"].as_array().into_iter().flatten();
        let known = known.find(|condition| condition["type"] == kind && condition["status"] == status);
        let since = known.and_then(|known| known["lastTransitionTime"].as_str()).unwrap_or(&at);
        json!({
            "type": kind, "status": status, "lastHeartbeatTime": at, "lastTransitionTime": since,
            "reason": reason, "message": message,
        })
    });
    written.into_iter().collect()
}

/// The changed fields; all conditions where the heartbeat is due.
pub(super) fn difference(before: &Value, after: &Value, is_due: bool) -> Option<Value> {
    let mut changed = Map::new();
    for (key, value) in after.as_object().into_iter().flatten() {
        let is_same = match key.as_str() {
            "conditions" => !is_due && without_heartbeat(&before[key], value),
            _ => before[key] == *value,
        };
        if !is_same {
            changed.insert(key.clone(), value.clone());
        }
    }
    if changed.is_empty() { None } else { Some(Value::Object(changed)) }
}

/// Whether conditions differ in nothing but the time of the last look.
fn without_heartbeat(before: &Value, after: &Value) -> bool {
    let after = after.as_array().into_iter().flatten();
    after.into_iter().all(|condition| {
        let mut known = before.as_array().into_iter().flatten();
        known.any(|known| {
            ["type", "status", "reason", "message"].iter().all(|field| known[*field] == condition[*field])
        })
    })
}

/// The event for a condition that has become so.
pub(super) fn event(kind: &str, holds: bool) -> Option<&'static str> {
    match (kind, holds) {
        ("MemoryPressure", true) => Some("NodeHasInsufficientMemory"),
        ("MemoryPressure", false) => Some("NodeHasSufficientMemory"),
        ("DiskPressure", true) => Some("NodeHasDiskPressure"),
        ("DiskPressure", false) => Some("NodeHasNoDiskPressure"),
        ("PIDPressure", true) => Some("NodeHasInsufficientPID"),
        ("PIDPressure", false) => Some("NodeHasSufficientPID"),
        ("Ready", true) => Some("NodeReady"),
        ("Ready", false) => Some("NodeNotReady"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: bool, reason: &str, message: &str) -> v1::RuntimeCondition {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        v1::RuntimeCondition { r#type: kind.to_owned(), status, reason, message }
    }

    #[test]
    fn the_runtime_is_judged() {
        let ready = condition("RuntimeReady", true, "", "");
        assert_eq!(judge(&[ready.clone(), condition("NetworkReady", true, "", "")]), RuntimeState::Ready);
        let network = condition("NetworkReady", false, "NetworkPluginNotReady", "cni plugin not initialized");
        let why = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                   message:cni plugin not initialized";
        assert_eq!(judge(&[ready, network]), RuntimeState::NotReady(why.to_owned()));
    }

    #[test]
    fn heartbeats_alone_are_no_change() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let observed = |runtime| Observed {
            runtime,
            handlers: Vec::new(),
            features: None,
            images: Vec::new(),
            pressure: Pressure::default(),
        };
        let status = |runtime, before: &Value, seconds| json!({"conditions": conditions(&observed(runtime), before, at(seconds))});
        let first = status(RuntimeState::Ready, &Value::Null, 1000);
        let later = status(RuntimeState::Ready, &first, 2000);
        assert_eq!(difference(&first, &later, false), None);
        assert!(difference(&first, &later, true).is_some());
        assert_eq!(
            later["conditions"][3]["lastTransitionTime"],
            first["conditions"][3]["lastTransitionTime"]
        );
        let broken = status(RuntimeState::NotReady("why".into()), &later, 3000);
        let changed = difference(&later, &broken, false).unwrap();
        assert_eq!(changed["conditions"][3]["reason"], "KubeletNotReady");
        assert_eq!(changed["conditions"][3]["lastTransitionTime"], "1970-01-01T00:50:00Z");
    }
}
