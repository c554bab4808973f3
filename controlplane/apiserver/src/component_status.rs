//! ComponentStatus: an old question, answered from the health of the store.
//!
//! The scheduler and the controllers are parts that may run anywhere: their own health ports tell of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::kind::Kind;
use api::status::Status;
use serde_json::{Value, json};

use crate::answer::{Answer, List, Shown};
use crate::object::Object;
use crate::request::Request;
use crate::server::Server;

const STORE: &str = "etcd-0";

/// Answers a get.
pub fn get(server: &Server, request: &Request, kind: &'static Kind) -> Result<Answer, Status> {
    match request.info.name.as_str() {
        STORE => Ok(Answer::object(200, kind, Shown::Value(store(server)))),
        name => Err(Status::not_found(kind.qualified_resource(), name)),
    }
}

/// Answers a list.
pub fn list(server: &Server, kind: &'static Kind) -> Answer {
    let json = store(server).to_string().into();
    let object = Object {
        key: STORE.into(),
        revision: server.caches.revision(),
        json,
        labels: BTreeMap::new(),
        fields: Vec::new(),
        row: Default::default(),
        forms: Default::default(),
        listed: Default::default(),
    };
    let objects = vec![Arc::new(object)];
    Answer::List(List { kind, revision: server.caches.revision(), objects, next: None, remaining: None })
}

fn store(server: &Server) -> Value {
    let failed = server.store.health().failed;
    let (status, message) = if failed { ("False", "the store's log failed") } else { ("True", "ok") };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": STORE},
        "conditions": [{"type": "Healthy", "status": status, "message": message}]})
}
