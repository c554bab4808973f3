//! One attempt: asks as the probe's handler says, within its timeout. What comes back is told in upstream's words.

use std::time::Duration;

use serde_json::Value;

use super::address::{self, Target};
use super::spec::{Handler, Spec};
use super::track::Outcome;
use super::{ProbeKind, exec, grpc, http, tcp};
use crate::pod::{Addresses, Container};
use crate::runtime::Runtime;

/// How often an attempt that taught nothing is made at once, as upstream.
const TRIES: usize = 3;
/// The longest text that goes into an event.
const MOST_OUTPUT: usize = 10 * 1024;

pub(super) async fn run(spec: Spec, container_id: String, addresses: Addresses, runtime: Runtime) -> Outcome {
    let mut outcome = Outcome::Error("it was not made".into());
    for _ in 0..TRIES {
        outcome = once(&spec, &container_id, &addresses, &runtime).await;
        if !matches!(outcome, Outcome::Error(_)) {
            break;
        }
    }
    outcome
}

async fn once(spec: &Spec, container_id: &str, addresses: &Addresses, runtime: &Runtime) -> Outcome {
    let target = |host: &str, port| address::resolve(host, port, addresses);
    match &spec.handler {
        Handler::Exec { command } => exec::attempt(runtime, container_id, command, spec.timeout).await,
        Handler::Http { host, port, path, https, headers } => match target(host, port) {
            Ok(Target { host, address }) => {
                let url = http::Url { https: *https, host, address, path: http::rooted(path) };
                http::attempt(url, headers, spec.timeout).await
            }
            Err(why) => Outcome::Error(why),
        },
        Handler::Tcp { host, port } => match target(host, port) {
            Ok(target) => tcp::attempt(target.address, spec.timeout).await,
            Err(why) => Outcome::Error(why),
        },
        Handler::Grpc { port, service } => match target("", &super::spec::Port::Number(*port)) {
            Ok(target) => grpc::attempt(target.address, service, spec.timeout).await,
            Err(why) => Outcome::Error(why),
        },
        Handler::Unknown => Outcome::Error("missing probe handler".into()),
    }
}

/// A container's lifecycle hook asks as its probes do: once, and for at most `limit`.
pub async fn ask(
    handler: &Value,
    container: &Container,
    container_id: &str,
    addresses: &Addresses,
    runtime: &Runtime,
    limit: Duration,
) -> Result<(), String> {
    let mut asking = container.clone();
    asking.value[ProbeKind::Liveness.field()] = handler.clone();
    let Some(spec) = Spec::read(&asking, ProbeKind::Liveness) else { return Err("missing handler".into()) };
    let spec = Spec { timeout: limit, ..spec };
    match once(&spec, container_id, addresses, runtime).await {
        Outcome::Success | Outcome::Warning(_) => Ok(()),
        Outcome::Failure(why) | Outcome::Error(why) => Err(why),
    }
}

/// A text as it goes into an event.
pub(super) fn shown(output: &[u8]) -> String {
    String::from_utf8_lossy(&output[..output.len().min(MOST_OUTPUT)]).into_owned()
}
