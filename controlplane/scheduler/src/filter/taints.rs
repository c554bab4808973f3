//! TaintToleration: nodes with a taint that keeps this pod away.
//!
//! The message names no taint: since 1.34.2 a pod's status does not tell what nodes are tainted with.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;

pub(super) fn check(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    let mut repelling = node.taints.iter().filter(|taint| taint.repels());
    match repelling.find(|taint| !taint.is_tolerated(&pod.wish.tolerations)) {
        None => Ok(()),
        Some(taint) => {
            tracing::debug!(pod = %pod.key, node = %node.name, taint = %taint.key, "untolerated taint");
            Err(Rejection::lasting(Plugin::TaintToleration, "node(s) had untolerated taint(s)"))
        }
    }
}
