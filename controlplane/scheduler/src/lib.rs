//! The scheduler: gives every pending pod a node.
//!
//! ```text
//! Cache of Pods, Nodes --changed--> Snapshot, Queue --plan--> Decision --+--> bind    (event Scheduled)
//!                                       ^        assumed at once <-------+--> report  (PodScheduled=False)
//!                                       +--- room promised at once <-----+--> evict   (pods of lower priority)
//! ```
//!
//! Not here yet: how much room a storage driver has left.
//!
//! **Invariants**
//! - One task owns snapshot and queue. A pod takes its room in the snapshot in the same step that decides for it,
//!   and gives it back only when the API says that the binding was not made: a stale cache never over-commits.
//! - A volume that a claim is to have is promised to it in the same step, too; the pod is bound once its claims are.
//! - `plan` is a function of snapshot, pod and random numbers; it waits for nothing.
//! - Nothing polls: a refused pod waits for a change that could help it, and then for its back-off.
//!
//! Reference: upstream's `pkg/scheduler`, whose messages, weights and defaults these are (1.36).

mod affinity;
mod bind;
mod budgets;
mod changes;
mod claims;
mod command;
mod domains;
mod evict;
mod filter;
mod neighbours;
mod node;
mod nominations;
mod peers;
mod plan;
mod pod;
mod pod_affinity;
mod preemption;
mod promises;
mod queue;
mod refusal;
mod report;
mod resources;
mod scheduler;
mod score;
mod snapshot;
mod taint;
mod topology_spread;
mod volume_lookup;
mod volumes;

pub use command::{Options, main, run};
pub use filter::{Plugin, Rejection};
pub use node::{Node, NodeName};
pub use plan::{Decision, plan};
pub use pod::{Pod, PodUid};
pub use preemption::{Candidate, Preemption};
pub use refusal::Refusal;
pub use scheduler::Scheduler;
pub use snapshot::{Room, Snapshot};

#[cfg(test)]
mod tests;
