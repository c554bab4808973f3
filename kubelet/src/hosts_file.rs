//! The pod's own /etc/hosts. Pure.

use crate::facts::NodeFacts;
use crate::pod::{Addresses, Pod};

/// The content; none for a pod that keeps the node's file as it is.
pub fn content(_pod: &Pod, _addresses: &Addresses, _node: &NodeFacts, _host: &str) -> Option<String> {
    None
}
