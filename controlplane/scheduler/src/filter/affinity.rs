//! NodeAffinity: nodes that the pod's selector or required affinity leaves out.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;

pub(super) fn check(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if pod.wish.affinity.admits(node) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector"))
}
