//! A pod's status as users see it. Pure: from what the runtime and the probes say, and why something waits.
//!
//! Not the part that others own: readiness gates, `resourceClaimStatuses`, `nominatedNodeName` stay as they are,
//! because only what changed of ours is ever written ([`patch`]).
//!
//! **Invariants**
//! - A phase of Succeeded or Failed never changes again.
//! - A container that ended is never shown as one that did not, unless it really runs again.
//!
//! Reference: upstream's `getPhase`, `convertToAPIContainerStatuses` and `status/generate.go`.

mod conditions;
mod container;
mod patch;
mod phase;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::time::format_seconds;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::observed::Observed;
use crate::pod::Pod;
use crate::qos;
use crate::resize::Resize;
use crate::verdicts::Verdicts;

pub use patch::difference;
pub use phase::Phase;

/// Why a container does not run, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// Why a pod is over although its containers do not say so: evicted, rejected, past its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
}

/// Everything a status follows from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    /// `status` as the API has it, as far as we know.
    pub before: &'a Value,
    pub observed: &'a Observed,
    pub verdicts: &'a Verdicts,
    pub waiting: &'a BTreeMap<String, Waiting>,
    pub failed: Option<&'a Verdict>,
    pub resize: &'a Resize,
    /// The node never took the pod: there is nothing to say of its containers.
    pub is_rejected: bool,
    /// Nothing of the pod will ever start again.
    pub is_over: bool,
    /// Nothing of it runs any more, and that is final.
    pub is_ended: bool,
    pub node_addresses: &'a [IpAddr],
    /// The scheme of container ids: the runtime's name.
    pub runtime: &'a str,
    pub now: Timestamp,
}

/// The fields of `status` that the kubelet owns.
pub fn of(inputs: &Inputs<'_>) -> Value {
    let pod = inputs.pod;
    let init: Vec<Value> = pod.init.iter().map(|each| container::status(inputs, each)).collect();
    let main: Vec<Value> = pod.main.iter().map(|each| container::status(inputs, each)).collect();
    let ephemeral: Vec<Value> = pod.ephemeral.iter().map(|each| container::status(inputs, each)).collect();
    let phase = phase::of(inputs, &init, &main);
    let mut status = Map::new();
    let mut set = |key: &str, value: Value| drop(status.insert(key.to_owned(), value));
    if pod.generation > 0 {
        set("observedGeneration", pod.generation.into());
    }
    set("phase", phase.to_string().into());
    set("conditions", conditions::of(inputs, phase, &init, &main));
    for (key, text) in [
        ("reason", failed_text(inputs, |why| &why.reason)),
        ("message", failed_text(inputs, |why| &why.message)),
    ] {
        if !text.is_empty() {
            set(key, text.into());
        }
    }
    addresses(inputs, &mut set);
    set("startTime", start_time(inputs));
    if inputs.is_rejected {
        status.shift_remove("conditions");
        return Value::Object(status);
    }
    let mut set = |key: &str, value: Value| drop(status.insert(key.to_owned(), value));
    for (key, list) in [
        ("initContainerStatuses", init),
        ("containerStatuses", main),
        ("ephemeralContainerStatuses", ephemeral),
    ] {
        if !list.is_empty() {
            set(key, list.into());
        }
    }
    set("qosClass", qos::class(pod).to_string().into());
    let whole = &pod.spec()["resources"];
    if whole.is_object() && !main_is_waiting(&status) {
        for (key, value) in [("allocatedResources", &whole["requests"]), ("resources", whole)] {
            if value.is_object() {
                status.insert(key.to_owned(), value.clone());
            }
        }
    }
    Value::Object(status)
}

/// Nothing of the pod has run yet.
fn main_is_waiting(status: &Map<String, Value>) -> bool {
    status
        .get("containerStatuses")
        .and_then(Value::as_array)
        .is_none_or(|all| all.iter().all(|each| each["containerID"].is_null()))
}

fn failed_text(inputs: &Inputs<'_>, which: fn(&Verdict) -> &String) -> String {
    let kept = |key: &str| inputs.before[key].as_str().unwrap_or_default().to_owned();
    match inputs.failed {
        Some(why) => which(why).clone(),
        // What the pod failed of stays.
        None if inputs.before["phase"] == "Failed" => {
            let probe = Verdict { reason: kept("reason"), message: kept("message") };
            which(&probe).clone()
        }
        None => String::new(),
    }
}

fn addresses(inputs: &Inputs<'_>, set: &mut impl FnMut(&str, Value)) {
    if let Some(first) = inputs.node_addresses.first() {
        set("hostIP", first.to_string().into());
        set("hostIPs", inputs.node_addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect());
    }
    let pod: Vec<IpAddr> = match (inputs.pod.host_network, inputs.observed.sandboxes.first()) {
        (true, Some(_)) => inputs.node_addresses.to_vec(),
        (false, Some(newest)) if newest.ready => newest.addresses.clone(),
        _ => Vec::new(),
    };
    if let Some(first) = pod.first() {
        set("podIP", first.to_string().into());
        set("podIPs", pod.iter().map(|ip| json!({"ip": ip.to_string()})).collect());
    } else if inputs.before["podIP"].is_string() {
        // The last address stays known until there is another.
        set("podIP", inputs.before["podIP"].clone());
        set("podIPs", inputs.before["podIPs"].clone());
    }
}

/// When this kubelet first saw the pod.
fn start_time(inputs: &Inputs<'_>) -> Value {
    match &inputs.before["startTime"] {
        Value::String(known) => known.clone().into(),
        _ => format_seconds(inputs.now).into(),
    }
}
