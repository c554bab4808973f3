//! InterPodAffinity: nodes without the pods that are to be near, or with those that are to be far.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod_affinity::{Objection, Required};

pub(super) fn check(required: &Required<'_>, node: &Node) -> Result<(), Rejection> {
    let Some(objection) = required.objection(node) else { return Ok(()) };
    let (reason, resolvable) = match objection {
        Objection::Near => ("node(s) didn't match pod affinity rules", false),
        Objection::Far => ("node(s) didn't match pod anti-affinity rules", true),
        Objection::Shunned => ("node(s) didn't satisfy existing pods anti-affinity rules", true),
    };
    Err(Rejection { plugin: Plugin::InterPodAffinity, reasons: vec![reason.to_owned()], resolvable })
}
