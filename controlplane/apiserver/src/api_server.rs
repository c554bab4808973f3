//! The API server: one entry for every request, `serve::Handler::handle`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use pki::{ClientTrust, PkiError, TokenKeys};
use rustls::ServerConfig;
use serve::{Limits, Listener};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::aggregation::{Aggregation, FrontProxy};
use crate::audit::{Audit, AuditError, AuditOptions};
use crate::authentication::Authenticator;
use crate::bootstrap::Announced;
use crate::bootstrap::upkeep::Upkeep;
use crate::cache::CacheError;
use crate::connect::Sessions;
use crate::definitions::Definitions;
use crate::documents::Published;
use crate::encryption::{self, Encryption, EncryptionError, Reloading};
use crate::fairness::Fairness;
use crate::handover::Handover;
use crate::node_access::KubeletAccess;
use crate::presence::Presence;
use crate::server::{Clock, Random, Server};

/// What an API server is made of.
pub struct Parts {
    /// Where objects are.
    pub store: Store,
    /// Authorities of client certificates, PEM.
    pub client_authorities: String,
    /// The keys of ServiceAccount tokens.
    pub token_keys: Vec<pki::TokenKey>,
    /// Who makes the tokens, and whom they are for unless they say otherwise.
    pub issuer: String,
    /// Ranges of cluster IPs: at most one of each family, the cluster's own family first.
    pub service_ranges: Vec<IpNet>,
    /// The keys that objects are encrypted with: an EncryptionConfiguration, followed while the server runs. None: all is plain.
    pub encryption: Option<std::path::PathBuf>,
    /// Who this server is to aggregated ones.
    pub front_proxy: FrontProxy,
    /// What is audited; nothing without it.
    pub audit: Option<AuditOptions>,
    /// Where other servers and pods reach this one.
    pub advertised: (std::net::IpAddr, u16),
    /// What nodes that join are told of the cluster: ranges, names.
    pub facts: BTreeMap<String, String>,
    /// What further servers get.
    pub handover: Arc<dyn Handover>,
    /// How kubelets are reached.
    pub kubelets: KubeletAccess,
    /// The wall clock.
    pub clock: Clock,
    /// Random numbers below a bound.
    pub random: Random,
    /// How long the store keeps its history; upstream's default is [`COMPACTION_INTERVAL`].
    pub compaction_interval: Duration,
    /// What a request is allotted; upstream's default is [`REQUEST_TIMEOUT`](crate::REQUEST_TIMEOUT).
    pub request_timeout: Duration,
    /// Ends watches and other streams that have no end of their own.
    pub stopping: CancellationToken,
}

/// How long history is kept where nothing else is asked for.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Why an API server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The store.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The keys that objects are encrypted with.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The file of those keys cannot be followed.
    #[error("following the encryption configuration: {0}")]
    Follow(std::io::Error),
    /// Nothing can be audited.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What every cluster has could not be written.
    #[error("the first objects of the cluster: {0}")]
    Bootstrap(api::status::Status),
}

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    /// What verbs share.
    pub server: Arc<Server>,
    /// Who asks.
    pub authenticator: Authenticator,
    /// Who makes ServiceAccount tokens.
    pub issuer: String,
    /// `host:port` as clients reach this server.
    pub advertised: String,
    /// How kubelets are reached.
    pub kubelets: KubeletAccess,
    /// Streams to kubelets and pods.
    pub sessions: Sessions,
    /// What a request is allotted, and its answer again.
    pub request_timeout: Duration,
    /// Who waits when many ask at once.
    pub fairness: Fairness,
    /// What other servers serve.
    pub aggregation: Aggregation,
    /// Who is told of requests.
    pub audit: Option<Arc<Audit>>,
    /// Custom resources.
    pub definitions: Definitions,
    /// What follows the file of encryption keys.
    _encryption: Reloading,
    /// OpenAPI, made when somebody asks.
    pub specifications: Published,
    /// What further servers get.
    pub handover: Arc<dyn Handover>,
    /// Tells the other servers that this one is there.
    presence: tokio::sync::Mutex<Option<Presence>>,
    /// Makes what every cluster has again; only kept.
    upkeep: OnceLock<Upkeep>,
}

impl ApiServer {
    /// Starts a server and answers what comes to the listener until it is to stop. Requests under way are finished then.
    pub fn serve(
        parts: Parts,
        listener: Listener,
        tls: Arc<ServerConfig>,
    ) -> BoxFuture<'static, Result<(), StartError>> {
        // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
        Box::pin(async move {
            let stopping = parts.stopping.clone();
            let api_server = ApiServer::start(parts).await?;
            tracing::info!(address = %listener.address, "the API is served");
            listener.serve(tls, api_server.clone(), Limits::default(), stopping).await;
            api_server.left().await;
            Ok(())
        })
    }

    /// Fills the caches and writes what every cluster has.
    async fn start(parts: Parts) -> Result<Arc<ApiServer>, StartError> {
        let trust = ClientTrust::from_bundle("client authorities", &parts.client_authorities)?;
        let tokens = TokenKeys::new(&parts.issuer, &parts.token_keys)?;
        let audit = parts.audit.map(Audit::start).transpose()?;
        let keyring = parts.encryption.as_deref().map(encryption::read).transpose()?;
        let server = Server::new(
            parts.store,
            &parts.service_ranges,
            Encryption::new(keyring.unwrap_or_default()),
            parts.clock,
            parts.random,
            parts.compaction_interval,
            parts.stopping.clone(),
        )
        .await?;
        let definitions = Definitions::start(server.clone()).await.map_err(StartError::Bootstrap)?;
        // After the definitions: their objects may be of older keys too.
        let encryption = Reloading::start(
            server.store.clone(),
            server.caches.clone(),
            server.encryption.clone(),
            parts.encryption,
        )
        .map_err(StartError::Follow)?;
        let front_proxy_authorities = parts.front_proxy.authorities_pem.clone();
        let aggregation = Aggregation::start(server.clone(), parts.front_proxy);
        let audiences = vec![parts.issuer.clone()];
        let api_server = Arc::new(ApiServer {
            server,
            authenticator: Authenticator { trust, tokens, audiences },
            issuer: parts.issuer,
            advertised: SocketAddr::from(parts.advertised).to_string(),
            kubelets: parts.kubelets,
            sessions: Sessions::new(parts.stopping),
            definitions,
            request_timeout: parts.request_timeout,
            fairness: Fairness::default(),
            aggregation,
            audit,
            _encryption: encryption,
            specifications: Published::default(),
            handover: parts.handover,
            presence: tokio::sync::Mutex::default(),
            upkeep: OnceLock::new(),
        });
        let announced = Announced {
            address: parts.advertised,
            authorities_pem: &parts.client_authorities,
            front_proxy_pem: &front_proxy_authorities,
            facts: &parts.facts,
        };
        crate::bootstrap::ensure(&api_server, &announced).await.map_err(StartError::Bootstrap)?;
        let presence = Presence::start(api_server.server.clone(), parts.advertised).await;
        *api_server.presence.lock().await = Some(presence.map_err(StartError::Bootstrap)?);
        api_server.upkeep.get_or_init(|| Upkeep::start(api_server.server.clone(), parts.advertised.1));
        Ok(api_server)
    }

    /// Waits until the other servers were told that this one stops, which begins with `stopping`; bounded.
    async fn left(&self) {
        if let Some(mut presence) = self.presence.lock().await.take() {
            presence.left().await;
        }
    }
}
