//! One container's status: the newest in the runtime is its state, the one before its last state.

use api::quantity::{Format, Quantity};
use api::time::format_seconds;
use cri_api::v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Inputs;
use crate::container_config::Sizes;
use crate::observed::{ObservedContainer, State};
use crate::plan;
use crate::pod::{Container, Role};
use crate::probes::ProbeKind;

/// The exit code of a container of which nobody knows how it ended: as if killed.
const UNKNOWN_CODE: i32 = 137;
const UNKNOWN: &str = "ContainerStatusUnknown";

pub(super) fn status(inputs: &Inputs<'_>, container: &Container) -> Value {
    let before = known(inputs, container);
    let Some(newest) = inputs.observed.latest(&container.name) else {
        return absent(inputs, container, before);
    };
    let mut history = inputs.observed.of(&container.name).skip(1);
    let previous = history.find(|older| older.state == State::Exited);
    let restarts = i64::from(newest.attempt).max(before["restartCount"].as_i64().unwrap_or(0));
    let mut state = state_of(inputs, newest);
    // One collected meanwhile is remembered by the API.
    let mut last = match previous {
        Some(previous) => terminated(inputs, previous),
        None if before["containerID"] == id(inputs, newest) => before["lastState"].clone(),
        None => before["state"].clone(),
    };
    if !last["terminated"].is_object() {
        last = json!({});
    }
    let waiting = inputs.waiting.get(&container.name);
    let will_run = !inputs.is_over && plan::is_wanted(inputs.pod, container, Some(newest));
    if newest.state != State::Running && will_run {
        if let Some(waiting) = waiting {
            if state["terminated"].is_object() {
                last = state;
            }
            state = waiting_state(&waiting.reason, &waiting.message);
        }
    } else if newest.state == State::Created {
        state = if inputs.is_ended {
            unknown("the pod was terminated")
        } else {
            waiting_for_start(inputs, container)
        };
    }
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    set("name", container.name.clone().into());
    set("state", state);
    set("lastState", last);
    set("ready", is_ready(inputs, container, newest).into());
    set("restartCount", restarts.into());
    set("image", image(newest, container).into());
    set("imageID", newest.status.image_ref.clone().into());
    set("containerID", id(inputs, newest).into());
    if container.role != Role::Ephemeral {
        set("started", has_started(inputs, container, newest).into());
    }
    resources(inputs, container, newest, &mut set);
    user(newest, &mut set);
    Value::Object(out)
}

/// What the API has of this container.
fn known<'a>(inputs: &Inputs<'a>, container: &Container) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    let list = match container.role {
        Role::Init | Role::Sidecar => "initContainerStatuses",
        Role::Main => "containerStatuses",
        Role::Ephemeral => "ephemeralContainerStatuses",
    };
    let mut all = inputs.before[list].as_array().into_iter().flatten();
    all.find(|status| status["name"] == container.name.as_str()).unwrap_or(NOTHING)
}

/// One that the runtime does not know: not yet, or not any more.
fn absent(inputs: &Inputs<'_>, container: &Container, before: &Value) -> Value {
    let waiting = inputs.waiting.get(&container.name);
    let mut restarts = before["restartCount"].as_i64().unwrap_or(0);
    let mut last = before["lastState"].clone();
    let state = match (&before["state"], waiting) {
        (state, _) if state["terminated"].is_object() => state.clone(),
        (state, _) if state["running"].is_object() => {
            let lost = unknown("the pod was deleted.  The container used to be Running");
            if inputs.is_over || inputs.is_ended {
                lost
            } else {
                restarts += 1;
                last = lost;
                waiting_for_start(inputs, container)
            }
        }
        _ if inputs.is_ended => unknown("the pod was terminated"),
        (_, Some(waiting)) => waiting_state(&waiting.reason, &waiting.message),
        _ => waiting_for_start(inputs, container),
    };
    if !last["terminated"].is_object() {
        last = json!({});
    }
    let keep = |key: &str| before[key].as_str().unwrap_or_default().to_owned();
    let image = if state["terminated"].is_object() && before["image"].is_string() {
        keep("image")
    } else {
        container.image.clone()
    };
    let done = container.role == Role::Init && state["terminated"]["exitCode"] == 0;
    let mut out = json!({
        "name": container.name, "state": state, "lastState": last, "ready": done, "restartCount": restarts,
        "image": image, "imageID": keep("imageID"),
    });
    if let Some(id) = before["containerID"].as_str() {
        out["containerID"] = id.into();
    }
    if container.role != Role::Ephemeral {
        out["started"] = false.into();
    }
    out
}

fn unknown(when: &str) -> Value {
    json!({"terminated": {
        "exitCode": UNKNOWN_CODE, "reason": UNKNOWN, "startedAt": null, "finishedAt": null,
        "message": format!("The container could not be located when {when}"),
    }})
}

fn waiting_state(reason: &str, message: &str) -> Value {
    let mut state = json!({"reason": reason});
    if !message.is_empty() {
        state["message"] = message.into();
    }
    json!({"waiting": state})
}

/// `PodInitializing` for those that wait for init containers.
fn waiting_for_start(inputs: &Inputs<'_>, container: &Container) -> Value {
    let pod = inputs.pod;
    let waits = match container.role {
        Role::Main => !pod.init.is_empty(),
        Role::Init | Role::Sidecar => pod.init.first().is_some_and(|first| first.name != container.name),
        Role::Ephemeral => false,
    };
    waiting_state(if waits { "PodInitializing" } else { "ContainerCreating" }, "")
}

fn state_of(inputs: &Inputs<'_>, container: &ObservedContainer) -> Value {
    match container.state {
        State::Running => json!({"running": {"startedAt": time(container.status.started_at)}}),
        State::Exited => terminated(inputs, container),
        State::Created => waiting_state("ContainerCreating", ""),
        State::Unknown => unknown("the pod was terminated"),
    }
}

fn terminated(inputs: &Inputs<'_>, container: &ObservedContainer) -> Value {
    let status = &container.status;
    let message = if container.last_words.is_empty() { &status.message } else { &container.last_words };
    let reason = match status.reason.as_str() {
        "" if status.exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    let mut out = json!({
        "exitCode": status.exit_code,
        "reason": reason,
        "startedAt": time(status.started_at),
        "finishedAt": time(status.finished_at),
        "containerID": id(inputs, container),
    });
    if !message.is_empty() {
        out["message"] = message.clone().into();
    }
    json!({"terminated": out})
}

/// Nanoseconds since 1970 as the API writes a time; null for none.
fn time(nanoseconds: i64) -> Value {
    match Timestamp::from_nanosecond(nanoseconds.into()) {
        Ok(time) if nanoseconds > 0 => format_seconds(time).into(),
        _ => Value::Null,
    }
}

fn id(inputs: &Inputs<'_>, container: &ObservedContainer) -> String {
    format!("{}://{}", inputs.runtime, container.id)
}

/// As the pod names it, or as the runtime does.
fn image(observed: &ObservedContainer, container: &Container) -> String {
    let spec: Option<&v1::ImageSpec> = observed.status.image.as_ref();
    match spec.map(|spec| (spec.user_specified_image.as_str(), spec.image.as_str())) {
        Some((asked, _)) if !asked.is_empty() => asked.to_owned(),
        Some((_, named)) if !named.is_empty() => named.to_owned(),
        _ => container.image.clone(),
    }
}

pub(super) fn has_started(inputs: &Inputs<'_>, container: &Container, observed: &ObservedContainer) -> bool {
    if observed.state != State::Running {
        return false;
    }
    match container.value["startupProbe"].is_object() {
        true => inputs.verdicts.of(&observed.id, ProbeKind::Startup) == Some(true),
        false => true,
    }
}

fn is_ready(inputs: &Inputs<'_>, container: &Container, observed: &ObservedContainer) -> bool {
    match container.role {
        Role::Init => observed.state == State::Exited && observed.status.exit_code == 0,
        Role::Ephemeral => false,
        Role::Main | Role::Sidecar => {
            let probed = || inputs.verdicts.of(&observed.id, ProbeKind::Readiness) == Some(true);
            has_started(inputs, container, observed)
                && (!container.value["readinessProbe"].is_object() || probed())
        }
    }
}

/// What the node has granted, and what the container has of it.
fn resources(
    inputs: &Inputs<'_>,
    container: &Container,
    newest: &ObservedContainer,
    set: &mut impl FnMut(&str, Value),
) {
    let granted = &container.value["resources"];
    if container.role != Role::Ephemeral {
        if granted["requests"].is_object() {
            set("allocatedResources", granted["requests"].clone());
        }
        // Also where there is nothing: it says that this node can resize.
        set("resources", has(inputs, container, newest));
    }
    let mounts = container.value["volumeMounts"].as_array();
    if let Some(mounts) = mounts.filter(|mounts| !mounts.is_empty()) {
        let shown = mounts.iter().map(|mount| {
            let mut shown = json!({"name": mount["name"], "mountPath": mount["mountPath"]});
            if mount["readOnly"] == true {
                shown["readOnly"] = true.into();
                shown["recursiveReadOnly"] = "Disabled".into();
                if let Some(mode @ ("Enabled" | "IfPossible")) = mount["recursiveReadOnly"].as_str() {
                    shown["recursiveReadOnly"] = if mode == "IfPossible" { "Enabled" } else { mode }.into();
                }
            }
            shown
        });
        set("volumeMounts", shown.collect());
    }
}

/// All that was granted, but for a container that runs and waits for its new size.
fn has(inputs: &Inputs<'_>, container: &Container, newest: &ObservedContainer) -> Value {
    let granted = match &container.value["resources"] {
        Value::Object(fields) => Value::Object(fields.clone()),
        _ => json!({}),
    };
    let Some(progress) = inputs.resize.progress.as_ref().filter(|_| newest.state == State::Running) else {
        return granted;
    };
    let given = progress.given.containers.get(&newest.id).copied();
    let Some(sizes) = given.or_else(|| Sizes::observed(newest)) else {
        let before = known(inputs, container);
        let is_same = before["containerID"] == id(inputs, newest) && before["resources"].is_object();
        return if is_same { before["resources"].clone() } else { granted };
    };
    if sizes == Sizes::of(inputs.pod, container) {
        return granted;
    }
    let (cpu_limit, cpu_request, memory) = sizes.shown();
    let mut out = granted;
    let mut put = |kind: &str, name: &str, amount: Option<String>| {
        if let (Some(amount), true) = (amount, out[kind].get(name).is_some()) {
            out[kind][name] = amount.into();
        }
    };
    put("limits", "cpu", cpu_limit.map(|millis| Quantity::from_millis(millis).to_string()));
    put("requests", "cpu", cpu_request.map(|millis| Quantity::from_millis(millis).to_string()));
    put("limits", "memory", (memory > 0).then(|| Quantity::from_units(memory, Format::BinarySi).to_string()));
    let before = known(inputs, container)["resources"]["requests"]["memory"].as_str().map(str::to_owned);
    put("requests", "memory", before);
    out
}

fn user(observed: &ObservedContainer, set: &mut impl FnMut(&str, Value)) {
    let user = observed.status.user.as_ref().and_then(|user| user.linux.as_ref());
    if let Some(user) = user {
        set(
            "user",
            json!({"linux": {"uid": user.uid, "gid": user.gid, "supplementalGroups": user.supplemental_groups}}),
        );
    }
}
