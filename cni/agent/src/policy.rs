//! NetworkPolicy on one node: from objects of the API to numbers in the datapath.
//!
//! ```text
//! NetworkPolicies ─┐                          ┌─ isolation of this node's pods ─▶ ENDPOINTS
//! Namespaces ──────┼─ what changed ─ compile ─┼─ who may what ──────────────────▶ POLICY
//! Pods ────────────┘                          └─ whose address it is ───────────▶ IDENTITIES
//! ```
//!
//! An **identity** is a namespace, labels and named ports of a pod, and the longest prefix of any policy that holds its
//! address; or only that prefix. Its number is a hash of it, so that every node and every new start comes to the
//! same one without asking; no packet carries one.
//!
//! `evaluate` says the same from the objects alone: `compile` is tested against it, and `explain` tells what it says.
//!
//! **Invariants.** Nothing is computed that did not change. What is new goes in before what is old goes out. Without an answer of the API the last state stays.
//!
//! Reference: NetworkPolicy of networking.k8s.io/v1.

mod addresses;
mod cluster;
mod compile;
mod compiled;
mod evaluate;
mod explain;
mod followed;
mod identities;
mod knowledge;
mod opening;
mod plan;
mod rule;
mod selections;
mod waiting;

pub use cluster::Pod;
pub use compile::Compiler;
pub use compiled::{Changed, Compiled};
pub use explain::{Explanation, Half, explain};
pub use knowledge::{Facts, Knowledge, Who, ask};
pub use plan::{Observed, Step, plan};
pub use rule::protocol_name;
pub use waiting::Waiting;

#[cfg(test)]
mod tests;
