//! What a pod says about its probes. Pure; a field that is missing has the API's default.

use std::time::Duration;

use serde_json::Value;

use super::ProbeKind;
use crate::pod::{Container, Pod, Role};

/// One probe of one container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    pub(super) container: String,
    pub(super) kind: ProbeKind,
    pub(super) handler: Handler,
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) success_threshold: u32,
    pub(super) failure_threshold: u32,
    pub(super) grace_seconds: Option<i64>,
}

/// How it asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Handler {
    Exec {
        command: Vec<String>,
    },
    Http {
        host: String,
        port: Port,
        path: String,
        https: bool,
        headers: Vec<(String, String)>,
    },
    Tcp {
        host: String,
        port: Port,
    },
    Grpc {
        port: u16,
        service: String,
    },
    /// None that we know; validation lets no such pod in.
    Unknown,
}

/// A port by number, or by name where no port of the container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Number(u16),
    Unknown(String),
}

/// The probes of the containers that have any: main ones and sidecars.
pub(super) fn of_pod(pod: &Pod) -> Vec<Spec> {
    let probed = pod.containers().filter(|container| matches!(container.role, Role::Main | Role::Sidecar));
    let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
    probed.flat_map(|container| kinds.iter().filter_map(|kind| Spec::read(container, *kind))).collect()
}

impl Spec {
    pub(super) fn read(container: &Container, kind: ProbeKind) -> Option<Spec> {
        let probe = &container.value[kind.field()];
        if !probe.is_object() {
            return None;
        }
        let number = |field: &str, default: u64| probe[field].as_u64().filter(|n| *n > 0).unwrap_or(default);
        let seconds = |field: &str, default: u64| Duration::from_secs(number(field, default));
        let threshold = |field: &str, default: u64| u32::try_from(number(field, default)).unwrap_or(u32::MAX);
        Some(Spec {
            container: container.name.clone(),
            kind,
            handler: Handler::read(probe, &container.value),
            initial_delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10),
            timeout: seconds("timeoutSeconds", 1),
            success_threshold: threshold("successThreshold", 1),
            failure_threshold: threshold("failureThreshold", 3),
            grace_seconds: probe["terminationGracePeriodSeconds"].as_i64(),
        })
    }
}

impl Handler {
    fn read(probe: &Value, container: &Value) -> Handler {
        let strings = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|item| text(item).to_owned()).collect()
        };
        if probe["exec"].is_object() {
            return Handler::Exec { command: strings(&probe["exec"]["command"]) };
        }
        let http = &probe["httpGet"];
        if http.is_object() {
            let headers = http["httpHeaders"].as_array().into_iter().flatten();
            return Handler::Http {
                host: text(&http["host"]).to_owned(),
                port: Port::read(&http["port"], container),
                path: text(&http["path"]).to_owned(),
                https: text(&http["scheme"]).eq_ignore_ascii_case("https"),
                headers: headers
                    .map(|header| (text(&header["name"]).to_owned(), text(&header["value"]).to_owned()))
                    .collect(),
            };
        }
        let tcp = &probe["tcpSocket"];
        if tcp.is_object() {
            return Handler::Tcp {
                host: text(&tcp["host"]).to_owned(),
                port: Port::read(&tcp["port"], container),
            };
        }
        let grpc = &probe["grpc"];
        if let Some(port) = grpc["port"].as_u64().and_then(|port| u16::try_from(port).ok()) {
            return Handler::Grpc { port, service: text(&grpc["service"]).to_owned() };
        }
        Handler::Unknown
    }
}

impl Port {
    /// A number, a number as text, or the name of one of the container's ports.
    fn read(value: &Value, container: &Value) -> Port {
        let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
        if let Some(port) = number(value) {
            return Port::Number(port);
        }
        let name = text(value);
        let ports = container["ports"].as_array().into_iter().flatten();
        let named = ports.filter(|port| port["name"] == name).find_map(|port| number(&port["containerPort"]));
        match named.or_else(|| name.parse().ok()) {
            Some(port) => Port::Number(port),
            None => Port::Unknown(name.to_owned()),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(probe: Value) -> Spec {
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {"containers": [{
            "name": "c", "ports": [{"name": "web", "containerPort": 8080}], "readinessProbe": probe,
        }]}}));
        of_pod(&pod).remove(0)
    }

    #[test]
    fn what_is_missing_has_its_default() {
        let read = spec(json!({"tcpSocket": {"port": 1}}));
        assert_eq!(
            read,
            Spec {
                container: "c".into(),
                kind: ProbeKind::Readiness,
                handler: Handler::Tcp { host: String::new(), port: Port::Number(1) },
                initial_delay: Duration::ZERO,
                period: Duration::from_secs(10),
                timeout: Duration::from_secs(1),
                success_threshold: 1,
                failure_threshold: 3,
                grace_seconds: None,
            }
        );
    }

    #[test]
    fn handlers() {
        let check =
            |probe: Value, expect: Handler| assert_eq!(spec(probe.clone()).handler, expect, "{probe}");
        check(
            json!({"exec": {"command": ["a", "b"]}}),
            Handler::Exec { command: vec!["a".into(), "b".into()] },
        );
        check(
            json!({"httpGet": {"path": "/x?y", "port": "web", "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]}}),
            Handler::Http {
                host: String::new(),
                port: Port::Number(8080),
                path: "/x?y".into(),
                https: true,
                headers: vec![("A".into(), "b".into())],
            },
        );
        check(
            json!({"tcpSocket": {"host": "127.0.0.1", "port": "9"}}),
            Handler::Tcp { host: "127.0.0.1".into(), port: Port::Number(9) },
        );
        check(
            json!({"tcpSocket": {"port": "nope"}}),
            Handler::Tcp { host: String::new(), port: Port::Unknown("nope".into()) },
        );
        check(
            json!({"grpc": {"port": 5000, "service": "s"}}),
            Handler::Grpc { port: 5000, service: "s".into() },
        );
        check(json!({}), Handler::Unknown);
    }

    #[test]
    fn containers_that_only_run_once_have_no_probes() {
        let probe = json!({"exec": {"command": ["true"]}});
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [
                {"name": "once", "livenessProbe": probe},
                {"name": "side", "restartPolicy": "Always", "startupProbe": probe},
            ],
            "containers": [{"name": "main", "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe}],
        }}));
        let found: Vec<(String, ProbeKind)> =
            of_pod(&pod).into_iter().map(|spec| (spec.container, spec.kind)).collect();
        let expect = [
            ("side", ProbeKind::Startup),
            ("main", ProbeKind::Startup),
            ("main", ProbeKind::Liveness),
            ("main", ProbeKind::Readiness),
        ];
        assert_eq!(found, expect.map(|(name, kind)| (name.to_owned(), kind)));
    }
}
