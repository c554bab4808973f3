//! NodeResourcesFit: nodes with less left than the pod asks for.

use super::{Plugin, Rejection};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Room;

pub(super) fn check(pod: &Pod, node: &Node, room: &Room) -> Result<(), Rejection> {
    let (wanted, has, used) = (&pod.wish.requests.exact, &node.allocatable, room.requested());
    let mut lack = Lack { reasons: vec![], resolvable: true };
    if room.pod_count() + 1 > has.pods {
        lack.reasons.push("Too many pods".to_owned());
    }
    lack.unless("cpu", wanted.cpu_millis, has.cpu_millis, used.cpu_millis);
    lack.unless("memory", wanted.memory, has.memory, used.memory);
    lack.unless("ephemeral-storage", wanted.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage);
    for (name, amount) in &wanted.others {
        let of = |list: &crate::resources::Resources| list.others.get(name).copied().unwrap_or_default();
        lack.unless(name, *amount, of(has), of(used));
    }
    if lack.reasons.is_empty() {
        return Ok(());
    }
    Err(Rejection { plugin: Plugin::NodeResourcesFit, reasons: lack.reasons, resolvable: lack.resolvable })
}

struct Lack {
    reasons: Vec<String>,
    /// False once even the empty node would be too small.
    resolvable: bool,
}

impl Lack {
    fn unless(&mut self, name: &str, wanted: i64, has: i64, used: i64) {
        if wanted > 0 && wanted > has.saturating_sub(used) {
            self.reasons.push(format!("Insufficient {name}"));
            self.resolvable &= wanted <= has;
        }
    }
}
