//! NodeUnschedulable: nodes that are cordoned, unless the pod tolerates the taint that stands for it.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;
use crate::taint::{Effect, Taint};

pub(super) fn check(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    if !node.unschedulable {
        return Ok(());
    }
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: String::new(),
        effect: Effect::NoSchedule,
    };
    if cordon.is_tolerated(&pod.wish.tolerations) {
        return Ok(());
    }
    Err(Rejection::lasting(Plugin::NodeUnschedulable, "node(s) were unschedulable"))
}
