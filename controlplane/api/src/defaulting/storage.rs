//! Volumes, claims, and their classes and drivers.

use serde_json::{Value, json};

use super::set;

pub(super) fn volume(volume: &mut Value) {
    set(&mut volume["status"], "phase", "Pending");
    let spec = &mut volume["spec"];
    set(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    if let Some(path) = spec.get_mut("hostPath") {
        set(path, "type", "");
    }
}

pub(super) fn claim(claim: &mut Value) {
    set(&mut claim["status"], "phase", "Pending");
    set(&mut claim["spec"], "volumeMode", "Filesystem");
}

pub(super) fn class(class: &mut Value) {
    set(class, "reclaimPolicy", "Delete");
    set(class, "volumeBindingMode", "Immediate");
}

pub(super) fn driver(driver: &mut Value) {
    let spec = &mut driver["spec"];
    set(spec, "attachRequired", true);
    set(spec, "podInfoOnMount", false);
    set(spec, "volumeLifecycleModes", json!(["Persistent"]));
    set(spec, "storageCapacity", false);
    set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    set(spec, "requiresRepublish", false);
    set(spec, "seLinuxMount", false);
}
