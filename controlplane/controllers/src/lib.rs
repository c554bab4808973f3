//! The controllers, one module each: they make what is observed what is desired.
//!
//! Each has the one shape: caches feed a queue of keys; a key's reconcile reads desired and observed, a pure
//! `plan` makes steps of them, `execute` does the steps and decides nothing. Each acts as its own
//! ServiceAccount in kube-system with upstream's bootstrap role; the caches are read with the part's credential.
//!
//! **Invariants**
//! - A controller keeps nothing that it could not read again: it may be killed between any two steps.
//! - A stale cache does no harm: writes carry a resourceVersion or a UID, creations are counted until seen.
//!
//! Reference: Kubernetes' kube-controller-manager, whose names, messages and annotations these are.

mod admission_policy;
mod certificates;
mod command;
mod context;
mod cronjob;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_mirroring;
mod endpoints;
mod endpointslice;
mod ephemeral_volume;
mod expectations;
mod fields;
mod garbage;
mod history;
mod ip_address;
mod job;
mod namespace;
mod node_fit;
mod node_ipam;
mod node_lifecycle;
mod owned_pods;
mod ownership;
mod pod;
mod pod_garbage;
mod pod_template;
mod ranking;
mod replicaset;
mod resource_quota;
mod role_aggregation;
mod root_ca;
mod service_account;
mod service_cidr;
mod slice_steps;
mod stateful_set;
mod taint_eviction;
mod token_cleaner;
mod ttl;
mod volume_binder;
mod volume_protection;

pub use command::{Options, main, run};
pub use node_ipam::{ClusterRange, RangeError};
