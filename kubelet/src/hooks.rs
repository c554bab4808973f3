//! What a container wants done right after its start and right before its end.
//!
//! Reference: core/v1 Lifecycle; KEP-3960 for `sleep`.

use std::time::Duration;

use serde_json::Value;

use crate::pod::{Addresses, Container};
use crate::probes;
use crate::runtime::Runtime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    PostStart,
    PreStop,
}

/// How long a hook without a deadline may take.
pub const LONGEST: Duration = Duration::from_secs(3600);

impl Hook {
    fn field(self) -> &'static str {
        match self {
            Hook::PostStart => "postStart",
            Hook::PreStop => "preStop",
        }
    }
}

/// The handler, where the container has one.
pub fn of(container: &Container, hook: Hook) -> Option<&Value> {
    Some(&container.value["lifecycle"][hook.field()]).filter(|handler| handler.is_object())
}

/// Runs a handler to its end, at most `limit`; else why it failed.
pub async fn run(
    handler: &Value,
    container: &Container,
    id: &str,
    addresses: &Addresses,
    runtime: &Runtime,
    limit: Duration,
) -> Result<(), String> {
    if let Some(seconds) = handler["sleep"]["seconds"].as_u64() {
        tokio::time::sleep(Duration::from_secs(seconds).min(limit)).await;
        return Ok(());
    }
    probes::ask(handler, container, id, addresses, runtime, limit).await
}
