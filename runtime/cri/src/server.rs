//! The server: opens the node, adopts what is there, listens, and stops on a signal without touching a pod.
//!
//! The listening socket is kept by the keeper: a client that connects while the daemon is restarted waits in
//! its queue instead of being refused.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use cri_api::images_v1::images_server::ImagesServer;
use cri_api::v1::image_service_server::ImageServiceServer;
use cri_api::v1::runtime_service_server::RuntimeServiceServer;
use futures::future::BoxFuture;
use streaming::{Server, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::adopt::adopt;
use crate::burst::{Burst, BurstLayer};
use crate::deadline::DeadlineLayer;
use crate::fault::{Doing as _, Outcome};
use crate::image_command::Commands;
use crate::image_service::Images;
use crate::node::Node;
use crate::options::Options;
use crate::process::Processes;
use crate::runtime_service::Runtime;
use crate::stream_backend::Sessions;
use crate::{cni, node, quiet};

/// The largest message: lists of a full node, and ExecSync's output.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// How long operations may go on after the last answer: a pull is not worth more.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The listener's name with the keeper.
const LISTENER: &str = "cri";

/// Serves until SIGTERM, SIGINT or `stop`.
pub fn serve(options: Options, stop: CancellationToken) -> BoxFuture<'static, Outcome<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(serve_until(options, stop))
}

async fn serve_until(options: Options, stop: CancellationToken) -> Outcome<()> {
    let node = Node::open(options).await?;
    adopt(&node).await?;
    let listener = listener(&node).await?;
    let backend = Arc::new(Sessions { node: node.clone() });
    let streaming = Server::bind(&node.options.stream_address, backend, ServerOptions::default())
        .doing(|| format!("listening on {} for streaming", node.options.stream_address))?;
    let sessions = tokio::spawn({
        let (streaming, cancel) = (streaming.clone(), node.cancel.clone());
        async move { streaming.serve(cancel).await }
    });
    let folder = tokio::spawn(cni::watch(node.networks.clone(), node.cancel.clone()));
    let burst = Arc::new(Burst::default());
    let quiet = tokio::spawn({
        let (node, burst, cancel) = (node.clone(), burst.clone(), node.cancel.clone());
        async move { quiet::watch(&node.gone, &burst.over, cancel).await }
    });
    let runtime = RuntimeServiceServer::new(Runtime { node: node.clone(), streaming })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let images = ImageServiceServer::new(Images { node: node.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let commands = ImagesServer::new(Commands { node: node.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    tracing::info!(socket = %node.options.socket().display(), "serving the container runtime interface");
    let served = tonic::transport::Server::builder()
        .layer(BurstLayer(burst))
        .layer(DeadlineLayer)
        .add_service(runtime)
        .add_service(images)
        .add_service(commands)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped(&node, stop))
        .await;
    node.cancel.cancel();
    node.tasks.close();
    if tokio::time::timeout(STOP_LIMIT, node.tasks.wait()).await.is_err() {
        tracing::warn!("operations are cut off; the next start takes back what is half done");
    }
    for (part, ended) in [("streaming", sessions.await), ("the network folder", folder.await)] {
        if let Ok(Err(error)) = ended {
            tracing::warn!(part, %error, "ended with an error");
        }
    }
    if let Err(error) = quiet.await {
        tracing::warn!(part = "quiet", %error, "ended with an error");
    }
    served.doing(|| "serving".into())
}

/// A signal or the caller; streams that never end by themselves are ended too.
async fn stopped(node: &Arc<Node>, stop: CancellationToken) {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        stop.cancelled().await;
        node.cancel.cancel();
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
        () = stop.cancelled() => {}
    }
    tracing::info!("stopping; containers run on");
    node.cancel.cancel();
}

/// The socket of the last daemon if the keeper has it and it is still this path's; else a new one.
async fn listener(node: &node::Node) -> Outcome<tokio::net::UnixListener> {
    let path = node.options.socket();
    let kept = node.processes.take_listener(LISTENER).await;
    let kept = kept.unwrap_or_else(|error| {
        tracing::warn!(%error, "the keeper does not give the listening socket back");
        None
    });
    let what = || format!("listening on {}", path.display());
    let listener = match kept.filter(|_| path.exists()).map(adopt_listener) {
        Some(listener) => listener,
        None => bind(&path).doing(what)?,
    };
    store(&node.processes, &listener).await;
    listener.set_nonblocking(true).doing(what)?;
    tokio::net::UnixListener::from_std(listener).doing(what)
}

fn adopt_listener(kept: OwnedFd) -> UnixListener {
    UnixListener::from(kept)
}

/// Replaces a socket that a crash left. Only root may connect.
fn bind(path: &std::path::Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn store(processes: &Processes, listener: &UnixListener) {
    if let Err(error) = processes.store_listener(LISTENER, listener.as_fd()).await {
        tracing::warn!(%error, "the keeper does not take the listening socket: a restart will refuse clients for a moment");
    }
}
