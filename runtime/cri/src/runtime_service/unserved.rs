//! Calls of the interface that are not served, each with what to do instead.

use tonic::{Response, Status};

use crate::fault::Fault;

/// Name of the call, and the sentence.
const UNSERVED: &[(&str, &str)] =
    &[("CheckpointContainer", "containers cannot be checkpointed by this runtime")];

pub fn answer<T>(call: &str) -> Result<Response<T>, Status> {
    let why = UNSERVED.iter().find(|(name, _)| *name == call).map_or("", |(_, why)| why);
    Err(Fault::Unsupported(format!("{call} is not served: {why}")).into())
}
