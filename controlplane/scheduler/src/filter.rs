//! Filters: may this pod run on this node at all?
//!
//! One plugin per file, under upstream's name. A node is asked until the first plugin refuses.

mod affinity;
mod name;
mod pod_affinity;
mod ports;
mod resources;
mod taints;
mod topology_spread;
mod unschedulable;
mod volumes;

use std::sync::Arc;

use crate::neighbours::Neighbours;
use crate::node::Node;
use crate::nominations::Nominations;
use crate::pod::Pod;
use crate::snapshot::Room;

/// The filters, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plugin {
    /// `spec.unschedulable` of the node.
    NodeUnschedulable,
    /// `spec.nodeName` of the pod.
    NodeName,
    /// Taints that keep pods away.
    TaintToleration,
    /// `nodeSelector` and required node affinity.
    NodeAffinity,
    /// Host ports.
    NodePorts,
    /// CPU, memory, ephemeral storage, extended resources, number of pods.
    NodeResourcesFit,
    /// Volumes that not every node reaches.
    VolumeBinding,
    /// Volumes of other zones.
    VolumeZone,
    /// How evenly the pod is to be spread.
    PodTopologySpread,
    /// Pods that are to be near, or far.
    InterPodAffinity,
}

/// Why a node is out of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub plugin: Plugin,
    /// Upstream's words, one or more.
    pub reasons: Vec<String>,
    /// Whether fewer pods on the node could help.
    pub resolvable: bool,
}

const ORDER: [Plugin; 8] = [
    Plugin::NodeUnschedulable,
    Plugin::NodeName,
    Plugin::TaintToleration,
    Plugin::NodeAffinity,
    Plugin::NodePorts,
    Plugin::NodeResourcesFit,
    Plugin::VolumeBinding,
    Plugin::VolumeZone,
];

/// Asks every plugin; the first refusal counts. A node must do with the pods that it is promised to, if they are as
/// important, and without them: they may come, or not.
pub fn check(
    pod: &Pod,
    node: &Node,
    room: &Room,
    neighbours: &mut Neighbours<'_>,
    nominations: &Nominations,
) -> Result<(), Rejection> {
    let as_important = |other: &&Arc<Pod>| other.uid != pod.uid && other.wish.priority >= pod.wish.priority;
    let nominated: Vec<&Arc<Pod>> = nominations.on(&node.name).filter(as_important).collect();
    if !nominated.is_empty() {
        let mut full = room.clone();
        for other in &nominated {
            full.add((*other).clone());
            neighbours.add(other, node);
        }
        let answer = ask(pod, node, &full, neighbours);
        nominated.iter().for_each(|other| neighbours.remove(other, node));
        answer?;
    }
    ask(pod, node, room, neighbours)
}

fn ask(pod: &Pod, node: &Node, room: &Room, neighbours: &Neighbours<'_>) -> Result<(), Rejection> {
    ORDER.iter().try_for_each(|plugin| plugin.check(pod, node, room))?;
    self::topology_spread::check(&neighbours.spread, node)?;
    self::pod_affinity::check(&neighbours.affinity, node)
}

impl Plugin {
    fn check(self, pod: &Pod, node: &Node, room: &Room) -> Result<(), Rejection> {
        match self {
            Plugin::NodeUnschedulable => self::unschedulable::check(pod, node),
            Plugin::NodeName => self::name::check(pod, node),
            Plugin::TaintToleration => self::taints::check(pod, node),
            Plugin::NodeAffinity => self::affinity::check(pod, node),
            Plugin::NodePorts => self::ports::check(pod, room),
            Plugin::NodeResourcesFit => self::resources::check(pod, node, room),
            Plugin::VolumeBinding => self::volumes::binding(pod, node),
            Plugin::VolumeZone => self::volumes::zone(pod, node),
            // Asked after all others, about the whole neighbourhood.
            Plugin::PodTopologySpread | Plugin::InterPodAffinity => Ok(()),
        }
    }
}

impl Rejection {
    /// Nothing on the node can change this.
    fn lasting(plugin: Plugin, reason: &str) -> Rejection {
        Rejection { plugin, reasons: vec![reason.to_owned()], resolvable: false }
    }
}
