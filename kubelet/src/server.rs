//! The kubelet's HTTPS server on 10250: logs, exec, attach, port-forward, pods, statistics, health.
//!
//! ```text
//! TLS ─▶ route (pure) ─▶ who: client certificate or TokenReview ─▶ may they: SubjectAccessReview ─▶ answer
//!                                                                        │
//!                   log files ◀── logs      CRI's streaming server ◀── streams (bytes, not decoded)
//! ```
//!
//! What is not here: anything that changes a pod. **Invariants.** Nobody is anonymous; the path that is authorized is
//! the path that is served; what the API decided is remembered briefly and within bounds; a stream ends with the server.
//!
//! Reference: Kubernetes "Kubelet authentication/authorization", KEP-2862 (fine-grained authorization).

pub mod log_reader;

mod answer;
mod identity;
mod logs;
mod metrics;
mod pods;
mod review_cache;
mod reviews;
mod route;
mod streams;
mod summary;
#[cfg(test)]
mod tests;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use serve::{ConnInfo, Handler, Limits, Listener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::answer::{Body, Refusal, json as json_answer, text};
use self::identity::Identities;
use self::log_reader::LogWatches;
use self::reviews::Reviews;
use self::route::Route;
use self::streams::Sessions;
use crate::directory::Directory;
use crate::runtime::Runtime;

/// What requests under way get to finish when the kubelet stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How it is reached and whom it trusts.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub address: SocketAddr,
    pub node: String,
    /// `--tls-cert-file` and `--tls-private-key-file`; without them one is made at every start that nobody knows.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub root: PathBuf,
    /// `--client-ca-file`
    pub client_authorities: Option<PathBuf>,
}

/// What all requests share.
struct Server {
    options: ServerOptions,
    pods: Directory,
    runtime: Runtime,
    identities: Identities,
    reviews: Reviews,
    watches: LogWatches,
    sessions: Sessions,
}

/// Serves until `stopping`; authentication by client certificate or TokenReview, authorization by SubjectAccessReview.
pub async fn serve(
    options: ServerOptions,
    pods: Directory,
    runtime: Runtime,
    client: Client,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let listener = Listener::bind(options.address).await?;
    serve_on(listener, options, pods, runtime, client, stopping).await
}

async fn serve_on(
    listener: Listener,
    options: ServerOptions,
    pods: Directory,
    runtime: Runtime,
    client: Client,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let identity = Arc::new(identity::serving(&options)?);
    let tls = serve::server_config(identity.clone())?;
    let renewal =
        AbortOnDropHandle::new(tokio::spawn(identity::follow(options.certificate.clone(), identity)));
    let identities = Identities::read(&options)?;
    let server = Arc::new(Server {
        reviews: Reviews::new(client, options.node.clone()),
        options,
        pods,
        runtime,
        identities,
        watches: LogWatches::default(),
        sessions: Sessions::default(),
    });
    tracing::info!(address = %listener.address, "the kubelet serves");
    let limits = Limits { drain: DRAIN, ..Limits::default() };
    let streams = server.clone();
    let ended = stopping.clone();
    let end_streams = async move {
        ended.cancelled().await;
        streams.sessions.end().await;
    };
    tokio::join!(listener.serve(tls, server, limits, stopping), end_streams);
    drop(renewal);
    Ok(())
}

impl Handler for Server {
    async fn handle(self: Arc<Self>, connection: ConnInfo, request: Request<Incoming>) -> Response<Body> {
        match self.answer(connection, request).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }
}

impl Server {
    async fn answer(
        self: Arc<Self>,
        connection: ConnInfo,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let route = Route::parse(request.method(), request.uri());
        let user = self.identities.user(&self.reviews, &connection, request.headers()).await?;
        // Also what leads nowhere is only told to those who may ask.
        self.reviews.require(&user, &route).await?;
        match route.target.clone() {
            route::Target::Health => Ok(text(200, "ok")),
            route::Target::Pods => Ok(json_answer(&pods::all(&self.pods))),
            route::Target::RunningPods => Ok(json_answer(&pods::running(&self.pods))),
            route::Target::Logs { namespace, pod, container } => {
                logs::answer(&self, &namespace, &pod, &container, &route.query).await
            }
            route::Target::Stream { kind, namespace, pod, container } => {
                streams::answer(&self, kind, (&namespace, &pod, &container), &route.query, request).await
            }
            route::Target::Summary => Ok(json_answer(&summary::of(&self).await?)),
            route::Target::Metrics => Ok(text(200, metrics::own(&self))),
            route::Target::ResourceMetrics => Ok(text(200, metrics::resource(&self).await?)),
            route::Target::Config => Ok(json_answer(&self.config())),
            route::Target::Checkpoint => {
                Err(Refusal::new(501, "checkpoints are not supported by this kubelet"))
            }
            route::Target::WrongMethod => Err(Refusal::new(405, "405: Method Not Allowed")),
            route::Target::Unknown => Err(Refusal::new(404, "404 page not found")),
        }
    }

    /// What `configz` tells: how this server is set up.
    fn config(&self) -> serde_json::Value {
        let path = |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let certificate = self.options.certificate.as_ref();
        json!({"kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": self.options.address.ip().to_string(),
            "port": self.options.address.port(),
            "tlsCertFile": path(certificate.map(|(certificate, _)| certificate)),
            "tlsPrivateKeyFile": path(certificate.map(|(_, key)| key)),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true, "cacheTTL": format!("{}s", reviews::TOKEN_FRESH.as_secs())},
                "x509": {"clientCAFile": path(self.options.client_authorities.as_ref())},
            },
            "authorization": {"mode": "Webhook", "webhook": {
                "cacheAuthorizedTTL": format!("{}s", reviews::ALLOWED_FRESH.as_secs()),
                "cacheUnauthorizedTTL": format!("{}s", reviews::DENIED_FRESH.as_secs()),
            }},
        }})
    }
}
