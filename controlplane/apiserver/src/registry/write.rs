//! Reading and writing one object with compare-and-swap.

use api::kind::Kind;
use api::schema;
use api::status::Status;
use serde_json::Value;
use store::{OperationReply, ProposeError, Record, Revision, Transaction, Urgency};

use super::node_ports;
use crate::envelope::{self, Place};
use crate::server::Server;

/// How often a change without a resourceVersion of its own is tried anew when somebody else was faster.
pub(super) const MOST_TRIES: usize = 50;

/// An object nested deeper is not written, whoever made it so: decoders would not read it again in what it is wrapped in. What
/// clients send is bounded by `schema::DEPTH_MAX`; the owners of fields are some levels more.
const STORED_DEPTH_MAX: usize = schema::DEPTH_MAX + 10;

/// What is to become of an object.
#[derive(Debug)]
pub enum Change {
    /// It becomes this.
    Put(Value),
    /// It goes.
    Delete,
    /// It stays as it is.
    Nothing,
}

/// The object under a key and the revision that wrote it; revision 0 where there is none.
pub fn read(server: &Server, kind: &Kind, key: &str) -> Result<(Revision, Option<Value>), Status> {
    let path = format!("{}{key}", server.cache(kind)?.prefix());
    let (_, record) = server.store.state().get(path.as_bytes()).map_err(Status::internal)?;
    match record {
        Some(record) => Ok((record.modified, Some(value(server, &record)?))),
        None => Ok((Revision(0), None)),
    }
}

/// Carries out a change if the object is still of the revision it was decided on. `Ok(Err(revision))`: it is of
/// another one now, or of the same, and somebody was faster with what it alone may have.
pub async fn write(
    server: &Server,
    kind: &'static Kind,
    key: &str,
    expected: Revision,
    change: &Change,
) -> Result<Result<Revision, Revision>, Status> {
    let path = format!("{}{key}", server.cache(kind)?.prefix()).into_bytes();
    let mut transaction = match change {
        Change::Put(object) if schema::depth(object) > STORED_DEPTH_MAX => {
            return Err(Status::request_too_large(format!(
                "the object is nested deeper than the allowed maximum of {STORED_DEPTH_MAX}"
            )));
        }
        Change::Put(object) => {
            let lease = server.lease_of(kind).await?;
            let keys = server.encryption.current();
            let key = kind.storage.and_then(|storage| keys.writer(storage.group, storage.resource));
            let place = Place { path: &path, key: key.map(|key| &**key) };
            let sealed = envelope::seal(object, place).map_err(Status::internal)?;
            Transaction::put_if(path, expected, sealed, lease)
        }
        Change::Delete => Transaction::delete_if(path, expected),
        Change::Nothing => return Ok(Ok(expected)),
    };
    if !node_ports::claim(server, kind, key, (expected, change), &mut transaction)? {
        return Ok(Err(expected));
    }
    let urgency = if matches!(kind.resource, "events" | "leases") { Urgency::Relaxed } else { Urgency::Now };
    let reply = server.store.transact(transaction, urgency).await.map_err(failure)?;
    if reply.succeeded {
        return Ok(Ok(reply.revision));
    }
    let found = match reply.results.into_iter().next() {
        Some(OperationReply::Got(Some(record))) => record.modified,
        _ => Revision(0),
    };
    Ok(Err(found))
}

/// The object in a record, with its resourceVersion.
pub(super) fn value(server: &Server, record: &Record) -> Result<Value, Status> {
    let json = envelope::open(&record.value, record.modified, &server.encryption.current(), &record.key)
        .map_err(Status::internal)?;
    serde_json::from_slice(&json).map_err(Status::internal)
}

fn failure(error: ProposeError) -> Status {
    match error {
        ProposeError::TooLarge { size, limit } => {
            Status::request_too_large(format!("the object has {size} bytes; the limit is {limit}"))
        }
        ProposeError::DiskFull(_)
        | ProposeError::LogFailed(_)
        | ProposeError::Unavailable(_)
        | ProposeError::Unknown(_)
        | ProposeError::Closed => Status::service_unavailable(error.to_string()),
        ProposeError::Refused(_) => Status::internal(error),
    }
}
