//! Labels and annotations by which the runtime carries for us what a restart must not forget.
//!
//! Reference: upstream's `io.kubernetes.*` names, which log collectors and `crictl pods --label` rely on.

use std::collections::BTreeMap;

use crate::pod::{Container, Pod};

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub const HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
const PORTS: &str = "io.kubernetes.container.ports";
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const POD_DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

pub type Words = BTreeMap<String, String>;

/// The pod's own labels and its identity.
pub fn of_sandbox(pod: &Pod) -> Words {
    let mut labels = words(&pod.value()["metadata"]["labels"]);
    labels.extend(identity(pod));
    labels
}

/// The pod's own annotations; CNI plugins read some of them.
pub fn sandbox_annotations(pod: &Pod) -> Words {
    let mut annotations = words(&pod.value()["metadata"]["annotations"]);
    annotations.insert(CONFIG_SEEN.to_owned(), pod.meta().creation_timestamp().to_owned());
    annotations.insert(CONFIG_SOURCE.to_owned(), "api".to_owned());
    annotations
}

pub fn of_container(pod: &Pod, container: &Container) -> Words {
    let mut labels = identity(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

pub fn container_annotations(pod: &Pod, container: &Container, attempt: u32) -> Words {
    let mut out = Words::new();
    let mut set = |key: &str, value: String| drop(out.insert(key.to_owned(), value));
    set(HASH, hash(container));
    set(RESTART_COUNT, attempt.to_string());
    set(MESSAGE_PATH, container.termination_message_path().to_owned());
    set(MESSAGE_POLICY, container.value["terminationMessagePolicy"].as_str().unwrap_or("File").to_owned());
    set(POD_GRACE, pod.grace_seconds.to_string());
    if let Some(deletion) = &pod.deletion {
        set(POD_DELETION_GRACE, deletion.grace_seconds.to_string());
    }
    if container.value["ports"].is_array() {
        set(PORTS, container.value["ports"].to_string());
    }
    let pre_stop = &container.value["lifecycle"]["preStop"];
    if pre_stop.is_object() {
        set(PRE_STOP, pre_stop.to_string());
    }
    out
}

/// Changes when a container has to be made anew: its name or its image.
pub fn hash(container: &Container) -> String {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(PRIME);
    let named = container.name.as_bytes().iter().fold(OFFSET, step);
    let whole = container.image.as_bytes().iter().fold(step(named, &0), step);
    format!("{whole:x}")
}

fn identity(pod: &Pod) -> Words {
    Words::from([
        (POD_NAME.to_owned(), pod.key.name.clone()),
        (POD_NAMESPACE.to_owned(), pod.key.namespace.clone()),
        (POD_UID.to_owned(), pod.uid.to_string()),
    ])
}

fn words(map: &serde_json::Value) -> Words {
    let pairs = map.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
