//! Port forwarding: TCP connections into a sandbox.
//!
//! ```text
//! portforward.k8s.io           SPDY: for each connection an error and a data stream, headers streamType,
//!                              port and requestID. Also inside a WebSocket (SPDY/3.1+portforward.k8s.io).
//! v4[.base64].channel.k8s.io   WebSocket: ports are fixed by the request; channel 2n is data, 2n+1 errors,
//!                              each begins with its port, 16 bits, little endian.
//! ```
//!
//! Reference: k8s.io/cri-streaming portforward; KEP 4006 for the tunnel.

mod channels;
mod pairs;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::StreamError;

pub use channels::serve as serve_channels;
pub use pairs::serve as serve_spdy;

/// What is offered over SPDY.
pub const SPDY_PROTOCOLS: &[&str] = &["portforward.k8s.io"];
/// SPDY inside a WebSocket.
pub const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// Understood over WebSocket. A client may also name none.
pub const WEBSOCKET_PROTOCOLS: &[&str] =
    &[TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// The header that says whether a stream carries data or errors.
pub const STREAM_TYPE: &str = "streamType";
/// The header with the port inside the sandbox.
pub const PORT: &str = "port";
/// The header that two streams of one connection have in common.
pub const REQUEST_ID: &str = "requestID";

/// How long the backend may take to see that a client is gone.
const WIND_DOWN_TIMEOUT: Duration = Duration::from_secs(10);

const DATA: &str = "data";
const ERROR: &str = "error";

/// What a client reads on the error stream.
fn failure(port: u16, sandbox: &str, error: &StreamError) -> String {
    format!("error forwarding port {port} to pod {sandbox}, uid : {error}")
}

/// The client is gone, so the streams fail. What does not end by itself soon is dropped.
async fn wind_down(mut forwards: JoinSet<()>) {
    let ended = async { while forwards.join_next().await.is_some() {} };
    if timeout(WIND_DOWN_TIMEOUT, ended).await.is_err() {
        forwards.shutdown().await;
    }
}
