//! When a long-running command ends: at SIGTERM or SIGINT, or when its supervisor is gone.

use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stopping` at the first SIGTERM or SIGINT; under a supervisor, also at the end of standard input.
pub fn stop_on_signals(
    stopping: CancellationToken,
    supervised: bool,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = supervisor_gone(), if supervised => tracing::warn!("the supervisor is gone"),
        }
        tracing::info!("stopping: requests under way are finished");
        stopping.cancel();
    }))
}

async fn supervisor_gone() {
    let mut byte = [0];
    // Nothing is ever written: any answer is the end. The pipe is read by the reactor, not by a thread.
    match tokio::net::unix::pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        Ok(mut input) => {
            let _ended = input.read(&mut byte).await;
        }
        Err(_) => std::future::pending().await,
    }
}
