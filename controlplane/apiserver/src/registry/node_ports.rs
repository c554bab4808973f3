//! Node ports as records of their own, written and deleted with their Service, in one transaction. Of two servers that
//! choose the same port at the same moment the store takes one.
//!
//! ```text
//!   /registry/ranges/servicenodeports/TCP/30080   namespace/name
//! ```
//!
//! Before that the caches say who has a port (`admission::service_ips`); a Service without records is known by them.

use std::collections::BTreeSet;

use api::kind::Kind;
use api::status::Status;
use serde_json::Value;
use store::{Compare, Field, KeyRange, Operation, Revision, Transaction};

use super::write::{Change, read};
use crate::admission::node_ports_of;
use crate::server::Server;

const PREFIX: &str = "/registry/ranges/servicenodeports/";

/// Adds what a change of a Service means for node ports to its transaction. `false`: somebody else has one of them.
pub(super) fn claim(
    server: &Server,
    kind: &Kind,
    service: &str,
    (expected, change): (Revision, &Change),
    transaction: &mut Transaction,
) -> Result<bool, Status> {
    if (kind.group, kind.resource) != ("", "services") {
        return Ok(true);
    }
    // Where the Service is of another revision by now, the transaction fails.
    let old = if expected == Revision(0) { None } else { read(server, kind, service)?.1 };
    let ports = |object: &Value| node_ports_of(object).collect::<BTreeSet<String>>();
    let before = old.as_ref().map(ports).unwrap_or_default();
    let after = if let Change::Put(new) = change { ports(new) } else { BTreeSet::new() };
    for port in after.difference(&before) {
        let key = format!("{PREFIX}{port}").into_bytes();
        let (_, record) = server.store.state().get(&key).map_err(Status::internal)?;
        let seen = record.as_ref().map_or(Revision(0), |record| record.modified);
        if let Some(record) = record.filter(|record| *record.value != *service.as_bytes()) {
            let (_, owner) = read(server, kind, &String::from_utf8_lossy(&record.value))?;
            if owner.is_some_and(|owner| node_ports_of(&owner).any(|held| held == *port)) {
                return Ok(false);
            }
        }
        transaction.compare.push(Compare { key: key.clone(), field: Field::Modified(seen) });
        transaction.success.push(Operation::Put { key, value: service.into(), lease: 0 });
    }
    for port in before.difference(&after) {
        let key = format!("{PREFIX}{port}").into_bytes();
        transaction.success.push(Operation::Delete(KeyRange::one(key)));
    }
    Ok(true)
}
