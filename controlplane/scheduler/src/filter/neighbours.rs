//! InterPodAffinity and PodTopologySpread: nodes whose neighbourhood does not fit.

use super::{Plugin, Rejection};
use crate::neighbours::{Objection, Places};
use crate::node::Node;

pub(super) fn check(places: &Places<'_>, node: &Node) -> Result<(), Rejection> {
    let Some(objection) = places.objection(node) else { return Ok(()) };
    let (plugin, reason, resolvable) = match objection {
        Objection::Near => (Plugin::InterPodAffinity, "node(s) didn't match pod affinity rules", false),
        Objection::Far => (Plugin::InterPodAffinity, "node(s) didn't match pod anti-affinity rules", true),
        Objection::Shunned => {
            (Plugin::InterPodAffinity, "node(s) didn't satisfy existing pods anti-affinity rules", true)
        }
        Objection::Spread => {
            (Plugin::PodTopologySpread, "node(s) didn't match pod topology spread constraints", true)
        }
        Objection::MissingLabel => (
            Plugin::PodTopologySpread,
            "node(s) didn't match pod topology spread constraints (missing required label)",
            false,
        ),
    };
    Err(Rejection { plugin, reasons: vec![reason.to_owned()], resolvable })
}
