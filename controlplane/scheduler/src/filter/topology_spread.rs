//! PodTopologySpread: nodes that would make the spread more uneven than the pod allows.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::topology_spread::{Objection, Skew};

pub(super) fn check(skew: &Skew<'_>, node: &Node) -> Result<(), Rejection> {
    let Some(objection) = skew.objection(node) else { return Ok(()) };
    let (reason, resolvable) = match objection {
        Objection::Skew => ("node(s) didn't match pod topology spread constraints", true),
        Objection::MissingLabel => {
            ("node(s) didn't match pod topology spread constraints (missing required label)", false)
        }
    };
    Err(Rejection { plugin: Plugin::PodTopologySpread, reasons: vec![reason.to_owned()], resolvable })
}
