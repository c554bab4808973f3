//! NodePorts: nodes where a host port that the pod wants is taken.

use super::{Plugin, Rejection};
use crate::pod::Pod;
use crate::snapshot::Room;

pub(super) fn check(pod: &Pod, room: &Room) -> Result<(), Rejection> {
    let wanted = &pod.wish.ports;
    let mut taken = room.pods().flat_map(|other| &other.wish.ports);
    if wanted.is_empty() || !taken.any(|taken| wanted.iter().any(|port| port.collides(taken))) {
        return Ok(());
    }
    let reason = "node(s) didn't have free ports for the requested pod ports".to_owned();
    Err(Rejection { plugin: Plugin::NodePorts, reasons: vec![reason], resolvable: true })
}
