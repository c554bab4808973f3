//! Port forwarding over WebSocket channels: one connection for each port of the request, at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, join};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failure;
use crate::backend::Backend;
use crate::remotecommand::session::FINISH_TIMEOUT;
use crate::websocket::{Codec, Role, Wiring};

/// The most ports of one session: each takes two channels, and 255 is the close signal.
pub const MAX_PORTS: usize = 127;

/// Forwards all ports; ends when each connection has ended or the client leaves.
pub async fn serve<T>(
    io: T,
    base64: bool,
    backend: Arc<dyn Backend>,
    sandbox: String,
    ports: Vec<u16>,
    idle: Duration,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut wiring = Wiring::new(Codec { base64, close_signal: false });
    let mut forwards = JoinSet::new();
    for (index, port) in ports.into_iter().take(MAX_PORTS).enumerate() {
        let channel = (index * 2) as u8;
        let (reader, mut data) = (wiring.reader(channel), wiring.writer(channel));
        let mut error = wiring.writer(channel + 1);
        let (backend, sandbox) = (backend.clone(), sandbox.clone());
        forwards.spawn(async move {
            // Queued before anything else: clients take the first two bytes for the port.
            let _ = data.write_all(&port.to_le_bytes()).await;
            let _ = error.write_all(&port.to_le_bytes()).await;
            let both = Box::new(join(reader, data));
            if let Err(reason) = backend.port_forward(sandbox.clone(), port, both).await {
                let reason_text = failure(port, &sandbox, &reason);
                tracing::info!(sandbox, port, reason = reason_text, "a port was not forwarded");
                let _ = error.write_all(reason_text.as_bytes()).await;
            }
        });
    }
    let channels = wiring.start(io, Role::Server, Some(idle)).await;
    let closed = channels.closed();
    tokio::select! {
        () = closed.cancelled() => return super::wind_down(forwards).await,
        () = async { while forwards.join_next().await.is_some() {} } => {}
    }
    channels.finish();
    let _ = timeout(FINISH_TIMEOUT, closed.cancelled()).await;
    channels.close().await;
}
