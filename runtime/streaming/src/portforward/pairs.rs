//! Port forwarding over SPDY: puts error and data streams together, and forwards each pair.
//!
//! ```text
//! error stream ─┐
//!               ├─ same requestID ──▶ Backend::port_forward ──▶ both finished, or the error told
//! data stream ──┘   within 30 s
//! ```
//!
//! Clients from before requestID are served by a guess that upstream makes, too: the data stream's number
//! is the error stream's plus two.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{DATA, ERROR, PORT, REQUEST_ID, STREAM_TYPE, failure};
use crate::backend::Backend;
use crate::spdy::{Connection, Role, Stream, StreamWriter};

/// How long the second stream of a pair may take.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);

/// Half of a pair.
struct Waiting {
    since: Instant,
    port: u16,
    half: Half,
}

enum Half {
    Data(Stream),
    Error(StreamWriter),
}

/// What one stream's headers say.
#[derive(Debug, PartialEq, Eq)]
struct Label {
    port: u16,
    data: bool,
    request: String,
}

/// Forwards connections until the client leaves.
pub async fn serve<T>(io: T, backend: Arc<dyn Backend>, sandbox: String, idle: Duration)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = Connection::new(io, Role::Server, Some(idle));
    let mut waiting: HashMap<String, Waiting> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let oldest = waiting.values().map(|half| half.since + PAIR_TIMEOUT).min();
        tokio::select! {
            stream = connection.accept() => {
                let Some(stream) = stream else { break };
                if let Some((port, data, error)) = pair(stream, &mut waiting).await {
                    forwards.spawn(forward(backend.clone(), sandbox.clone(), port, data, error));
                }
            }
            Some(_) = forwards.join_next() => {}
            () = sleep_until(oldest.unwrap_or_else(Instant::now)), if oldest.is_some() => {
                expire(&mut waiting).await;
            }
        }
    }
    super::wind_down(forwards).await;
}

/// Accepts or refuses a stream; a pair if its other half was there.
async fn pair(stream: Stream, waiting: &mut HashMap<String, Waiting>) -> Option<(u16, Stream, StreamWriter)> {
    let label = match label(&stream) {
        Ok(label) => label,
        Err(reason) => {
            tracing::debug!(reason, "a port-forward stream was refused");
            stream.refuse();
            return None;
        }
    };
    stream.reply();
    let half = if label.data { Half::Data(stream) } else { Half::Error(stream.into_writer()) };
    let Some(other) = waiting.remove(&label.request) else {
        waiting.insert(label.request, Waiting { since: Instant::now(), port: label.port, half });
        return None;
    };
    match (half, other.half) {
        (Half::Data(data), Half::Error(error)) => Some((label.port, data, error)),
        (Half::Error(error), Half::Data(data)) => Some((other.port, data, error)),
        (half, same) => {
            let kind = if label.data { DATA } else { ERROR };
            let text = format!(
                "error processing stream for request {}: {kind} stream already assigned",
                label.request
            );
            waiting.insert(label.request, Waiting { half: same, ..other });
            if let Half::Error(mut error) = half {
                let _ = error.write_all(text.as_bytes()).await;
            }
            None
        }
    }
}

/// Gives up halves whose other half has not come.
async fn expire(waiting: &mut HashMap<String, Waiting>) {
    let late: Vec<String> = waiting
        .iter()
        .filter(|(_, half)| half.since.elapsed() >= PAIR_TIMEOUT)
        .map(|(request, _)| request.clone())
        .collect();
    for request in late {
        if let Some(Waiting { half: Half::Error(mut error), .. }) = waiting.remove(&request) {
            let text = format!("(request={request}) timed out waiting for streams");
            let _ = error.write_all(text.as_bytes()).await;
        }
    }
}

async fn forward(
    backend: Arc<dyn Backend>,
    sandbox: String,
    port: u16,
    data: Stream,
    mut error: StreamWriter,
) {
    if let Err(reason) = backend.port_forward(sandbox.clone(), port, Box::new(data)).await {
        tracing::info!(sandbox, port, error = &reason as &dyn std::error::Error, "a port was not forwarded");
        let _ = error.write_all(failure(port, &sandbox, &reason).as_bytes()).await;
    }
}

fn label(stream: &Stream) -> Result<Label, &'static str> {
    let headers = stream.headers();
    let port = headers.get(PORT).ok_or("a port header is required")?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or("the port header is no port")?;
    let data = match headers.get(STREAM_TYPE) {
        Some(DATA) => true,
        Some(ERROR) => false,
        Some(_) => return Err("the stream type is neither data nor error"),
        None => return Err("a streamType header is required"),
    };
    let request = match headers.get(REQUEST_ID).filter(|request| !request.is_empty()) {
        Some(request) => request.to_string(),
        None => stream.id().wrapping_sub(if data { 2 } else { 0 }).to_string(),
    };
    Ok(Label { port, data, request })
}
