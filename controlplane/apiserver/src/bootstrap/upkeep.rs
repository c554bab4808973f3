//! What must be there as long as the cluster is: made again when somebody takes it away.
//!
//! ```text
//!   a change of these kinds ─► whatever is missing is made, as at a start
//!     Service default/kubernetes (its endpoints are `presence`'s) · the ServiceCIDR of the server's ranges
//!     the first namespaces · flow schemas and priority levels
//! ```
//!
//! Sleeps until one of these kinds changes. What somebody changed, but did not take away, is left as it is.
//!
//! Reference: upstream's kubernetesservice, systemnamespaces, defaultservicecidr and flow control's bootstrap.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use futures::future::select_all;
use store::Revision;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{flow_control, kubernetes_service, namespaces};
use crate::server::Server;

const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const KINDS: [(&str, &str); 5] = [
    ("", "services"),
    ("", "namespaces"),
    ("networking.k8s.io", "servicecidrs"),
    (FLOW, "flowschemas"),
    (FLOW, "prioritylevelconfigurations"),
];
/// Between two looks: many changes in a row cost one, and a store without a leader is not pressed.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that looks; ends when the server stops, or with its owner.
#[derive(Debug)]
pub struct Upkeep(JoinHandle<()>);

impl Upkeep {
    /// Begins; what was taken away since the start is seen at once.
    pub fn start(server: Arc<Server>, port: u16) -> Upkeep {
        Upkeep(tokio::spawn(run(server, port)))
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(server: Arc<Server>, port: u16) {
    let stopping = server.stopping.clone();
    let caches = KINDS.iter().filter_map(|(group, resource)| server.caches.named(group, resource));
    let mut changes: Vec<watch::Receiver<Revision>> = caches.map(|cache| cache.latest()).collect();
    while !changes.is_empty() {
        let failed = mend(&server, port).await.err();
        if let Some(status) = &failed {
            let error = status.message.as_str();
            tracing::warn!(error, "what every cluster has could not be made; it is tried again");
        }
        let next = async {
            if failed.is_none() {
                let _ = select_all(changes.iter_mut().map(|change| Box::pin(change.changed()))).await;
            }
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = next => {}
        }
    }
}

async fn mend(server: &Server, port: u16) -> Result<(), Status> {
    namespaces(server).await?;
    flow_control(server).await?;
    kubernetes_service::ensure(server, port).await
}
