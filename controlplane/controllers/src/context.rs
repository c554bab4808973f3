//! What all controllers share, and their start.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use client::{Caches, Client, ClientError, Config, Index, Key, Resource, Surroundings};
use pki::Authority;
use tokio::task::JoinSet;

use crate::fields::text;
use crate::{
    ClusterRange, admission_policy, certificates, cronjob, daemon_set, deployment, disruption,
    endpoint_mirroring, endpoints, endpointslice, ephemeral_volume, garbage, ip_address, job, namespace,
    node_ipam, node_lifecycle, pod_garbage, replicaset, resource_quota, role_aggregation, root_ca,
    service_account, service_cidr, stateful_set, taint_eviction, token_cleaner, ttl, volume_binder,
    volume_protection,
};

/// Where the controllers' accounts are.
const ACCOUNTS: &str = "kube-system";

/// What the controllers are started with.
pub struct Setup {
    pub config: Config,
    /// PEM of the authorities that pods shall trust.
    pub root_ca: String,
    /// Every controller acts as its own ServiceAccount.
    pub own_accounts: bool,
    /// Ranges of which every Node gets a part for its pods, at most one per family; none: nobody gets any.
    pub node_ranges: Vec<ClusterRange>,
    /// Signs certificates that are asked for; none: nobody does.
    pub signer: Option<Authority>,
}

/// Caches, and the way to an identity.
pub(crate) struct Context {
    pub(crate) caches: Caches,
    /// The part's own credential: caches and discovery.
    pub(crate) client: Client,
    pub(crate) root_ca: String,
    own_accounts: bool,
    pods_by_node: OnceLock<Index>,
}

impl Context {
    /// The pods of each node. Ask for it before pods are followed: who then hears of a pod finds it here already.
    pub(crate) fn pods_by_node(&self) -> PodsByNode {
        let start = || {
            Index::of(&self.caches.of(&Resource::PODS), |pod| {
                let node = text(pod.value(), "/spec/nodeName");
                if node.is_empty() { BTreeSet::new() } else { BTreeSet::from([node.to_owned()]) }
            })
        };
        PodsByNode(self.pods_by_node.get_or_init(start).clone())
    }

    /// The client of a controller.
    pub(crate) fn client_of(&self, account: &str) -> Result<Client, ClientError> {
        if self.own_accounts { self.client.acting_as(ACCOUNTS, account) } else { Ok(self.client.clone()) }
    }
}

/// Who looks at one node looks at its pods alone.
#[derive(Clone)]
pub(crate) struct PodsByNode(Index);

impl PodsByNode {
    pub(crate) fn of(&self, node: &str) -> Vec<Key> {
        self.0.at(node)
    }
}

/// Runs all controllers until one fails for good. Dropping it stops them.
pub async fn run_all(options: Setup) -> Result<(), ClientError> {
    let client = Client::new(options.config, "keelson controllers", Surroundings::system())?;
    let context = Arc::new(Context {
        caches: Caches::new(client.clone()),
        client,
        root_ca: options.root_ca,
        own_accounts: options.own_accounts,
        pods_by_node: OnceLock::new(),
    });
    let mut running = JoinSet::new();
    running.spawn(deployment::run(context.clone()));
    running.spawn(replicaset::run(context.clone(), &replicaset::REPLICA_SETS));
    running.spawn(replicaset::run(context.clone(), &replicaset::REPLICATION_CONTROLLERS));
    running.spawn(job::run(context.clone()));
    running.spawn(cronjob::run(context.clone()));
    running.spawn(ttl::run(context.clone()));
    running.spawn(stateful_set::run(context.clone()));
    running.spawn(daemon_set::run(context.clone()));
    running.spawn(disruption::run(context.clone()));
    running.spawn(resource_quota::run(context.clone()));
    running.spawn(endpoints::run(context.clone()));
    running.spawn(endpoint_mirroring::run(context.clone()));
    running.spawn(role_aggregation::run(context.clone()));
    running.spawn(admission_policy::run(context.clone()));
    running.spawn(volume_protection::claims(context.clone()));
    running.spawn(volume_protection::volumes(context.clone()));
    running.spawn(taint_eviction::run(context.clone()));
    running.spawn(volume_binder::run(context.clone()));
    running.spawn(ephemeral_volume::run(context.clone()));
    running.spawn(endpointslice::run(context.clone()));
    running.spawn(namespace::run(context.clone()));
    running.spawn(service_account::run(context.clone()));
    running.spawn(root_ca::run(context.clone()));
    running.spawn(garbage::run(context.clone()));
    running.spawn(service_cidr::run(context.clone()));
    running.spawn(ip_address::run(context.clone()));
    running.spawn(node_lifecycle::run(context.clone()));
    if !options.node_ranges.is_empty() {
        running.spawn(node_ipam::run(context.clone(), options.node_ranges));
    }
    if let Some(authority) = options.signer {
        running.spawn(certificates::run(context.clone(), Arc::new(authority)));
    }
    running.spawn(token_cleaner::run(context.clone()));
    running.spawn(pod_garbage::run(context));
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(result) => result?,
            // The supervisor starts the part anew.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    Ok(())
}
