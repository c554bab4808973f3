//! What the controllers of EndpointSlices do, and how it is done.
//!
//! Each creation and deletion is expected, so that nobody counts again before its own last work is seen. What there should
//! be is decided by whoever makes the steps.

use client::{Client, ClientError, Key, Outcome, Resource};
use serde_json::Value;

use crate::expectations::Expectations;

#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Create(Value),
    Update(Value),
    Delete { name: String, uid: String },
}

/// Does the steps of one Service, whose key it is.
pub(crate) async fn execute_all(
    client: &Client,
    expectations: &Expectations,
    key: &Key,
    steps: impl IntoIterator<Item = Step>,
) -> Result<Outcome, ClientError> {
    for step in steps {
        match execute(client, expectations, key, step).await {
            Err(error) if error.namespace_is_terminating() => return Ok(Outcome::Done),
            Err(error) if error.is_conflict() || error.is_not_found() => return Ok(Outcome::Again),
            done => done?,
        }
    }
    Ok(Outcome::Done)
}

async fn execute(
    client: &Client,
    expectations: &Expectations,
    key: &Key,
    step: Step,
) -> Result<(), ClientError> {
    let slices = &Resource::ENDPOINT_SLICES;
    match step {
        Step::Create(slice) => {
            expectations.creating(key, 1);
            let created = client.create(slices, &key.namespace, &slice).await;
            created.map(drop).inspect_err(|_| expectations.created(key))
        }
        Step::Update(slice) => client.update(slices, &slice).await.map(drop),
        Step::Delete { name, uid } => {
            expectations.deleting(key, &uid);
            let deleted = client.delete(slices, &key.namespace, &name, Some(&uid), None).await;
            deleted.map(drop).inspect_err(|_| expectations.deleted(key, &uid))
        }
    }
}
