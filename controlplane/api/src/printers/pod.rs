//! Pods. The status is what a person wants to know first: why it is not running, rather than its phase.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, list, name, or, since, text, wide};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    text("Ready"),
    text("Status"),
    text("Restarts"),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

pub(super) fn cells(pod: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let shown = Shown::of(pod);
    let restarts = match &shown.last_restart {
        Some(at) if shown.restarts > 0 => format!("{} ({} ago)", shown.restarts, since(at, now)),
        _ => shown.restarts.to_string(),
    };
    let ip = list(status, "podIPs").next().map_or(&status["podIP"], |ip| &ip["ip"]);
    vec![
        name(pod),
        format!("{}/{}", shown.ready, shown.total).into(),
        shown.reason.into(),
        restarts.into(),
        age(pod, now),
        or(ip, "<none>"),
        or(&spec["nodeName"], "<none>"),
        or(&status["nominatedNodeName"], "<none>"),
        readiness_gates(spec, status),
    ]
}

fn readiness_gates(spec: &Value, status: &Value) -> Value {
    let gates: Vec<&Value> = list(spec, "readinessGates").collect();
    if gates.is_empty() {
        return "<none>".into();
    }
    let holds = |gate: &&&Value| {
        list(status, "conditions").any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    json!(format!("{}/{}", gates.iter().filter(holds).count(), gates.len()))
}

/// What the columns show of the containers.
struct Shown {
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Value>,
    reason: String,
}

impl Shown {
    fn of(pod: &Value) -> Shown {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let phase = status["phase"].as_str().unwrap_or_default();
        let mut shown = Shown {
            ready: 0,
            total: list(spec, "containers").count(),
            restarts: 0,
            last_restart: None,
            reason: status["reason"].as_str().filter(|reason| !reason.is_empty()).unwrap_or(phase).to_owned(),
        };
        let gated = list(status, "conditions")
            .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
        if gated {
            shown.reason = "SchedulingGated".into();
        }
        let initializing = shown.init_containers(spec, status);
        if !initializing || is_initialized(status) {
            shown.containers(spec, status);
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            if status["reason"] == "NodeLost" {
                shown.reason = "Unknown".into();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                shown.reason = "Terminating".into();
            }
        }
        shown
    }

    /// Whether an init container is still to finish; then the reason says which.
    fn init_containers(&mut self, spec: &Value, status: &Value) -> bool {
        let total = list(spec, "initContainers").count();
        let restartable = |status: &Value| {
            list(spec, "initContainers")
                .any(|c| c["name"] == status["name"] && c["restartPolicy"] == "Always")
        };
        self.total += list(spec, "initContainers").filter(|c| c["restartPolicy"] == "Always").count();
        for (index, container) in list(status, "initContainerStatuses").enumerate() {
            self.count(container);
            let state = &container["state"];
            let terminated = &state["terminated"];
            if terminated["exitCode"] == 0 {
                continue;
            }
            if restartable(container) && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            self.reason = if terminated.is_object() {
                format!("Init:{}", end_of(terminated))
            } else {
                match state["waiting"]["reason"].as_str() {
                    Some(reason) if !matches!(reason, "" | "PodInitializing") => format!("Init:{reason}"),
                    _ => format!("Init:{index}/{total}"),
                }
            };
            return true;
        }
        false
    }

    fn containers(&mut self, _spec: &Value, status: &Value) {
        let mut running = false;
        let containers: Vec<&Value> = list(status, "containerStatuses").collect();
        for container in containers.iter().rev() {
            self.count(container);
            let state = &container["state"];
            if let Some(reason) = state["waiting"]["reason"].as_str().filter(|reason| !reason.is_empty()) {
                self.reason = reason.to_owned();
            } else if state["terminated"].is_object() {
                self.reason = end_of(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        // One that has ended does not hide that another one runs.
        if self.reason == "Completed" && running {
            let ready = list(status, "conditions").any(|c| c["type"] == "Ready" && c["status"] == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.into();
        }
    }

    fn count(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        let ended = &container["lastState"]["terminated"]["finishedAt"];
        if ended.as_str() > self.last_restart.as_ref().and_then(Value::as_str) {
            self.last_restart = Some(ended.clone());
        }
    }
}

/// How a container ended, in a word.
fn end_of(terminated: &Value) -> String {
    let signal = terminated["signal"].as_i64().unwrap_or(0);
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

fn is_initialized(status: &Value) -> bool {
    list(status, "conditions").any(|c| c["type"] == "Initialized" && c["status"] == "True")
}
