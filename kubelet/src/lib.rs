//! The kubelet: runs the pods of one node through CRI, and nothing else.
//!
//! ```text
//! API watch -> source -> worker (one task per pod) -> plan -> execute -> CRI
//!                          ^        ^                                      |
//!                       probes   GetContainerEvents <----------------------+
//! ```
//!
//! - [`pod`]: what a pod asks for, typed as far as a kubelet looks; [`observed`]: what the runtime says of it.
//! - [`plan`]: desired and observed to steps, pure; `worker`: the owner task that executes them.
//! - [`volumes`], [`environment`], [`container_config`]: what a container finds when it starts.
//! - `admission`, `allocation`, [`resize`]: what of its wish the node has room for, at first and later.
//! - [`probes`], [`server`]: whether it is well; logs, exec, attach and port-forward over HTTPS.
//! - `node`, `lease`: what the cluster hears of this machine.
//!
//! What is not here: containers (the runtime), addresses (CNI), where a pod goes (the scheduler).
//!
//! **Invariants**
//! - What a restart must not forget is asked of the runtime, never read from a file of ours: attempts, ids, exit codes.
//!   The one exception is upstream's too: the users of pods, which are given before the runtime hears of them.
//! - Only a pod's worker changes its sandbox and containers. Nothing polls where the runtime tells.

mod admission;
mod allocation;
pub mod backoff;
mod cgroups;
mod command;
pub mod container_config;
pub mod directory;
pub mod dns_config;
pub mod environment;
pub mod facts;
mod follow;
mod garbage;
mod healthz;
mod hooks;
pub mod hosts_file;
mod images;
mod kubelet;
pub mod labels;
mod lease;
mod node;
pub mod observed;
mod options;
mod orphans;
pub mod paths;
pub mod plan;
pub mod pod;
pub mod probes;
pub mod qos;
pub mod resize;
pub mod resources;
mod rotation;
pub mod runtime;
pub mod sandbox_config;
pub mod server;
pub mod status;
pub mod token;
mod user_namespaces;
pub mod verdicts;
pub mod volumes;
mod worker;

pub use command::{footprint, main, run};
pub use options::Options;
