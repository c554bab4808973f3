//! From a request line to what it asks for, and the rights that this takes. Pure.
//!
//! | path | subresources of `nodes`, any of which will do |
//! |---|---|
//! | `/stats/..`, `/metrics/..`, `/logs/..` | stats; metrics; log |
//! | `/pods`, `/runningpods` | pods, proxy |
//! | `/healthz`, `/configz` | healthz or configz, proxy |
//! | `/checkpoint/..` | checkpoint |
//! | everything else | proxy |
//!
//! Invariant: target and rights come from one reading of the path. Whoever runs something (exec, attach,
//! port-forward) needs `create`, also where a WebSocket asks with GET: upstream takes `get` for that, which lets
//! those run commands who were only meant to look.

use api::path::{Query, percent_decode};
use http::{Method, Uri};

/// A request, understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub(super) target: Target,
    /// The verb to be allowed.
    pub(super) verb: &'static str,
    /// Subresources of the node; one of them must be allowed.
    pub(super) subresources: &'static [&'static str],
    pub(super) query: Query,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Health,
    Pods,
    RunningPods,
    Logs { namespace: String, pod: String, container: String },
    Stream { kind: StreamKind, namespace: String, pod: String, container: String },
    Summary,
    Metrics,
    ResourceMetrics,
    Config,
    Checkpoint,
    WrongMethod,
    Unknown,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamKind {
    Exec,
    Attach,
    PortForward,
}

impl Route {
    pub(super) fn parse(method: &Method, uri: &Uri) -> Route {
        let path = percent_decode(uri.path());
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let target = target(method, &parts);
        let verb = match (&target, method.as_str()) {
            (Target::Stream { .. }, _) | (_, "POST") => "create",
            (_, "GET" | "HEAD") => "get",
            (_, "PUT") => "update",
            (_, "PATCH") => "patch",
            (_, "DELETE") => "delete",
            _ => "",
        };
        let subresources: &[&str] = match parts[0] {
            "stats" => &["stats"],
            "metrics" => &["metrics"],
            "logs" => &["log"],
            "checkpoint" => &["checkpoint"],
            "spec" => &["spec"],
            "pods" | "runningpods" if parts.len() == 1 => &["pods", "proxy"],
            "healthz" => &["healthz", "proxy"],
            "configz" if parts.len() == 1 => &["configz", "proxy"],
            _ => &["proxy"],
        };
        Route { target, verb, subresources, query: Query::parse(uri.query().unwrap_or_default()) }
    }
}

fn target(method: &Method, parts: &[&str]) -> Target {
    let stream = |kind, namespace: &str, pod: &str, container: &str| match *method {
        Method::GET | Method::POST => {
            Target::Stream { kind, namespace: namespace.into(), pod: pod.into(), container: container.into() }
        }
        _ => Target::WrongMethod,
    };
    let get = |target| match *method {
        Method::GET | Method::HEAD => target,
        _ => Target::WrongMethod,
    };
    match *parts {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => get(Target::Health),
        ["pods"] => get(Target::Pods),
        ["runningpods"] => get(Target::RunningPods),
        ["stats", "summary"] => get(Target::Summary),
        ["metrics"] => get(Target::Metrics),
        ["metrics", "resource"] => get(Target::ResourceMetrics),
        ["configz"] => get(Target::Config),
        ["checkpoint", ..] => Target::Checkpoint,
        ["containerLogs", namespace, pod, container] => {
            get(Target::Logs { namespace: namespace.into(), pod: pod.into(), container: container.into() })
        }
        // The pod's uid may stand before the container; names are unique at a time.
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            stream(StreamKind::Exec, namespace, pod, container)
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            stream(StreamKind::Attach, namespace, pod, container)
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            stream(StreamKind::PortForward, namespace, pod, "")
        }
        _ => Target::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_rights() {
        let logs = || Target::Logs { namespace: "n".into(), pod: "p".into(), container: "c".into() };
        let stream = |kind, container: &str| Target::Stream {
            kind,
            namespace: "n".into(),
            pod: "p".into(),
            container: container.into(),
        };
        let proxy = &["proxy"][..];
        for (request, target, verb, subresources) in [
            ("GET /healthz", Target::Health, "get", &["healthz", "proxy"][..]),
            ("GET /healthz/ping", Target::Health, "get", &["healthz", "proxy"]),
            ("GET /pods", Target::Pods, "get", &["pods", "proxy"]),
            ("GET /pods/", Target::Pods, "get", &["pods", "proxy"]),
            ("GET /runningpods/", Target::RunningPods, "get", &["pods", "proxy"]),
            ("GET /configz", Target::Config, "get", &["configz", "proxy"]),
            ("GET /stats/summary", Target::Summary, "get", &["stats"]),
            ("GET /metrics", Target::Metrics, "get", &["metrics"]),
            ("GET /metrics/resource", Target::ResourceMetrics, "get", &["metrics"]),
            ("GET /logs/x", Target::Unknown, "get", &["log"]),
            ("POST /checkpoint/n/p/c", Target::Checkpoint, "create", &["checkpoint"]),
            ("GET /containerLogs/n/p/c", logs(), "get", proxy),
            ("POST /containerLogs/n/p/c", Target::WrongMethod, "create", proxy),
            ("POST /exec/n/p/c", stream(StreamKind::Exec, "c"), "create", proxy),
            ("GET /exec/n/p/c", stream(StreamKind::Exec, "c"), "create", proxy),
            ("GET /exec/n/p/uid/c", stream(StreamKind::Exec, "c"), "create", proxy),
            ("GET /attach/n/p/c", stream(StreamKind::Attach, "c"), "create", proxy),
            ("POST /portForward/n/p", stream(StreamKind::PortForward, ""), "create", proxy),
            ("DELETE /exec/n/p/c", Target::WrongMethod, "delete", proxy),
            ("GET /", Target::Unknown, "get", proxy),
            ("GET /metricsx", Target::Unknown, "get", proxy),
            ("GET /%65xec/n/p/c", stream(StreamKind::Exec, "c"), "create", proxy),
            ("GET /stats/../exec/n/p/c", Target::Unknown, "get", &["stats"]),
        ] {
            let (method, path) = request.split_once(' ').unwrap();
            let route = Route::parse(&method.parse().unwrap(), &path.parse().unwrap());
            assert_eq!(
                (&route.target, route.verb, route.subresources),
                (&target, verb, subresources),
                "{request}"
            );
        }
    }
}
