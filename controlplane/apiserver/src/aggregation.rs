//! API aggregation: group versions that other servers serve, behind this one's port.
//!
//! ```text
//!   APIServices, Services, EndpointSlices ─► availability (checks) ─► conditions, Routes
//!   request below /apis/<group>/<version> ─► route ─► TLS with the front proxy's certificate ─► backend at an endpoint
//! ```
//!
//! One task watches and checks; readers take the latest [`Routes`]. What this server serves itself has APIServices too, of
//! the condition `Local`, which the task keeps. A group version that is served here is never routed away.
//!
//! **Invariants**
//! - Who asks goes on in `X-Remote-*` alone, written here; neither the client's own such headers nor its credentials do.
//! - A backend is believed by its `caBundle` for `<service>.<namespace>.svc`, unless its APIService says otherwise.
//!
//! Reference: Kubernetes "Kubernetes API Aggregation Layer"; kube-aggregator's availability controller, by behaviour.

mod availability;
mod backend;
mod documents;
mod local;
mod proxy;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use backend::Backend;
pub use documents::{merge_groups, merge_index, merge_swagger, remote_group};
pub use proxy::proxy;

use crate::server::Server;

/// Who this server is to aggregated ones.
#[derive(Debug)]
pub struct FrontProxy {
    /// The client certificate and its key.
    pub identity: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    /// Who signed it, PEM: published for the aggregated servers.
    pub authorities_pem: String,
}

/// Names that a front proxy's certificate may have.
pub const ALLOWED_NAMES: &[&str] = &["front-proxy-client"];

/// What is served elsewhere, by group and version.
pub type Routes = BTreeMap<(String, String), Arc<Backend>>;

/// The routes, and the task that keeps them; ended with its owner.
#[derive(Debug)]
pub struct Aggregation {
    routes: Arc<RwLock<Arc<Routes>>>,
    /// A request has failed: look at once.
    look: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Aggregation {
    /// Begins.
    pub fn start(server: Arc<Server>, front_proxy: FrontProxy) -> Aggregation {
        let routes = Arc::new(RwLock::new(Arc::new(Routes::new())));
        let look = Arc::new(Notify::new());
        let task = tokio::spawn(work::run(server, front_proxy, routes.clone(), look.clone()));
        Aggregation { routes, look, task }
    }

    /// A backend did not answer somebody: it is checked at once.
    pub fn suspect(&self, backend: &Backend) {
        backend.suspect();
        self.look.notify_one();
    }

    /// The routes of now.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who serves a path, where it is not served here: below `/apis/<group>/<version>`, and its OpenAPI document.
    pub fn route(&self, path: &str) -> Option<Arc<Backend>> {
        let routes = self.routes();
        if routes.is_empty() {
            return None;
        }
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut words = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (words.next()?, words.next()?);
        routes.get(&(group.to_owned(), version.to_owned())).cloned()
    }
}

impl Drop for Aggregation {
    fn drop(&mut self) {
        self.task.abort();
    }
}
