//! Resizes that wait for room, and who of them is first.
//!
//! Reference: upstream's order in `kubelet/allocation`: those that ask for no more, then priority, then the class of
//! service, then who waits longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::pod::{Pod, PodUid};
use crate::qos::QosClass;
use crate::resources::Amounts;

/// One pod that waits.
pub(super) struct Waiting {
    pub wanted: Amounts,
    pub class: QosClass,
    priority: i64,
    grows: bool,
    /// Smaller for those that came earlier.
    pub since: u64,
}

impl Waiting {
    pub fn new(asked: &Pod, class: QosClass, before: &Amounts, wanted: Amounts, since: u64) -> Waiting {
        let grows = wanted.cpu_millis > before.cpu_millis || wanted.memory > before.memory;
        let priority = asked.spec()["priority"].as_i64().unwrap_or_default();
        Waiting { wanted, class, priority, grows, since }
    }
}

/// The first one first.
pub(super) fn in_order(waiting: &BTreeMap<PodUid, Waiting>) -> Vec<PodUid> {
    let mut all: Vec<(&PodUid, &Waiting)> = waiting.iter().collect();
    all.sort_by_key(|(_, each)| {
        (each.grows, Reverse(each.priority), each.class != QosClass::Guaranteed, each.since)
    });
    all.into_iter().map(|(uid, _)| uid.clone()).collect()
}
