//! CONNECT: what webhooks and policies say of streams and proxies, before they begin.
//!
//! The object is what the client asks for, made of its query (PodExecOptions and its like), not the pod. A mutating webhook is
//! asked and may refuse; what it would change is not carried out. Logs are no CONNECT, as upstream.

use api::kind::{Kind, Subresource};
use api::path::Query;
use api::status::Status;
use serde_json::{Map, Value};

use super::{Attributes, Operation, policies, webhooks};
use crate::request::Request;
use crate::server::Server;

impl Server {
    /// Asks about a request for a subresource that connects.
    pub async fn admit_connect(
        &self,
        request: &Request,
        kind: &'static Kind,
        row: &Subresource,
    ) -> Result<(), Status> {
        if row.name == "log" {
            return Ok(());
        }
        let operation = Operation::Connect;
        let attributes = Attributes { request, kind, operation, old: None, dry_run: false };
        let mut object = options(row, &request.query, &request.info.path);
        webhooks::mutate(self, &attributes, &mut object).await?;
        policies::validate(self, &attributes, &object)?;
        webhooks::validate(self, &attributes, &object).await
    }
}

/// What a client asks for, as an object.
fn options(row: &Subresource, query: &Query, path: &str) -> Value {
    let mut options = Map::new();
    options.insert("kind".into(), row.kind.into());
    options.insert("apiVersion".into(), api::kind::api_version(row.group, row.version).into());
    for name in ["stdin", "stdout", "stderr", "tty"] {
        if query.flag(name) {
            options.insert(name.into(), true.into());
        }
    }
    if let Some(container) = query.get("container").filter(|name| !name.is_empty()) {
        options.insert("container".into(), container.into());
    }
    match row.name {
        "exec" => {
            let command: Vec<&str> = query.all("command").collect();
            options.insert("command".into(), command.into());
        }
        "portforward" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options.insert("ports".into(), ports.into());
            }
        }
        "proxy" => {
            if let Some((_, rest)) = path.split_once("/proxy/") {
                options.insert("path".into(), rest.into());
            }
        }
        _ => {}
    }
    Value::Object(options)
}

#[cfg(test)]
mod tests {
    use api::kind::Registry;
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_objects() {
        let pods = Registry::builtin().by_resource("", "v1", "pods").unwrap();
        let check = |name: &str, query: &str, path: &str, expect: Value| {
            let row = pods.subresource(name).unwrap();
            assert_eq!(options(row, &Query::parse(query), path), expect, "{name}?{query}");
        };
        check(
            "exec",
            "container=c&command=sh&command=-c&stdin=true&stdout=true&stderr=false",
            "",
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true, "container": "c",
                "command": ["sh", "-c"]}),
        );
        check(
            "portforward",
            "ports=80&ports=x",
            "",
            json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80]}),
        );
        check(
            "proxy",
            "",
            "/api/v1/namespaces/a/pods/p/proxy/a/b",
            json!({"kind": "PodProxyOptions", "apiVersion": "v1", "path": "a/b"}),
        );
    }
}
