//! NodeName: the node that the pod names, and no other.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;

pub(super) fn check(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if pod.node.as_ref().is_none_or(|name| *name == node.name) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::NodeName, "node(s) didn't match the requested node name"))
}
