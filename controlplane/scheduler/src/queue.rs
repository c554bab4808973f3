//! The pods that wait for a node.
//!
//! ```text
//!              pop                refused             a change that may help
//! Active ------------> Busy --------------> Waiting ---------------------------+
//!   ^                   | failed                                               |
//!   |      due          v                   back-off not over                  |
//!   +-------------- BackingOff <-----------------------------------------------+
//!   ^                                       back-off over                      |
//!   +--------------------------------------------------------------------------+
//! ```
//!
//! Pure: the time is an argument. As long as the pods that exist at most.
//!
//! **Invariants**
//! - Active pods are taken by priority, then by age, then in the order of their coming.
//! - A pod is tried again at the earliest 1 s after its first refusal, then 2, 4, 8 and 10 s.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::filter::Plugin;
use crate::node::Differences;
use crate::pod::{Pod, PodUid};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<PodUid, Entry>,
    active: BTreeMap<Order, PodUid>,
    backing_off: BTreeSet<(Instant, PodUid)>,
    arrivals: u64,
}

/// Priority, age, arrival.
type Order = (Reverse<i64>, String, u64);

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    arrival: u64,
    place: Place,
    attempts: u32,
    /// When the pod may be tried again.
    ready_at: Option<Instant>,
    /// Who refused it last.
    plugins: BTreeSet<Plugin>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Its turn comes.
    Active(Order),
    /// Its turn comes at that time.
    BackingOff(Instant),
    /// Refused; only a change can help.
    Waiting,
    /// Decided for; not yet known to be bound.
    Busy,
}

/// A change in the cluster that may help a refused pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    NodeAdded,
    NodeChanged(Differences),
    /// A pod gave its room back.
    RoomFreed,
    /// A pod came to a node, or looks different now: somebody may want to be near it, or mind it no longer.
    PodPlaced,
    /// A namespace has other labels.
    NamespaceChanged,
    /// Volumes or claims are other ones.
    VolumesChanged,
}

impl Event {
    fn helps(self, plugins: &BTreeSet<Plugin>) -> bool {
        match self {
            Event::NodeAdded => true,
            Event::NodeChanged(what) => plugins.iter().any(|plugin| match plugin {
                Plugin::NodeUnschedulable => what.unschedulable,
                Plugin::NodeName | Plugin::NodePorts => false,
                Plugin::TaintToleration => what.taints,
                // Constraints may leave out nodes by their taints.
                Plugin::PodTopologySpread => what.labels || what.taints,
                Plugin::NodeAffinity
                | Plugin::InterPodAffinity
                | Plugin::VolumeBinding
                | Plugin::VolumeZone => what.labels,
                Plugin::NodeResourcesFit => what.allocatable,
            }),
            Event::RoomFreed => plugins.iter().any(|plugin| {
                matches!(
                    plugin,
                    Plugin::NodePorts
                        | Plugin::NodeResourcesFit
                        | Plugin::PodTopologySpread
                        | Plugin::InterPodAffinity
                )
            }),
            Event::VolumesChanged => {
                plugins.iter().any(|plugin| matches!(plugin, Plugin::VolumeBinding | Plugin::VolumeZone))
            }
            Event::NamespaceChanged => plugins.contains(&Plugin::InterPodAffinity),
            Event::PodPlaced => plugins
                .iter()
                .any(|plugin| matches!(plugin, Plugin::PodTopologySpread | Plugin::InterPodAffinity)),
        }
    }
}

impl Queue {
    /// A pending pod, as it is now. One whose wish has changed is tried anew.
    pub fn set(&mut self, pod: Arc<Pod>, now: Instant) {
        let uid = pod.uid.clone();
        let Some(entry) = self.entries.get_mut(&uid) else {
            self.arrivals += 1;
            let (arrival, place) = (self.arrivals, Place::Waiting);
            let entry = Entry { pod, arrival, place, attempts: 0, ready_at: None, plugins: BTreeSet::new() };
            self.entries.insert(uid.clone(), entry);
            self.activate(&uid);
            return;
        };
        let same = entry.pod.wish == pod.wish
            && entry.pod.spread == pod.spread
            && entry.pod.identity == pod.identity;
        entry.pod = pod;
        match entry.place {
            _ if same => {}
            // A new priority is a new place.
            Place::Active(_) => self.activate(&uid),
            Place::Waiting => self.wake_one(&uid, now),
            Place::BackingOff(_) | Place::Busy => {}
        }
    }

    /// Bound, gone or not to be scheduled any more.
    pub fn remove(&mut self, uid: &PodUid) {
        self.leave(uid);
        self.entries.remove(uid);
    }

    /// The next pod to decide for.
    pub fn pop(&mut self) -> Option<Arc<Pod>> {
        let (_, uid) = self.active.pop_first()?;
        let entry = self.entries.get_mut(&uid)?;
        entry.place = Place::Busy;
        entry.attempts = entry.attempts.saturating_add(1);
        Some(entry.pod.clone())
    }

    /// No node will do for a popped pod.
    pub fn refused(&mut self, uid: &PodUid, plugins: BTreeSet<Plugin>, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.ready_at = Some(now + wait(entry.attempts));
        entry.plugins = plugins;
        entry.place = Place::Waiting;
    }

    /// A popped pod could not be bound, or not be decided for: again after its back-off, whatever happens.
    pub fn failed(&mut self, uid: &PodUid, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let due = now + wait(entry.attempts);
        entry.ready_at = Some(due);
        entry.place = Place::BackingOff(due);
        self.backing_off.insert((due, uid.clone()));
    }

    /// Gives the refused pods that the event may help another turn.
    pub fn wake(&mut self, event: Event, now: Instant) {
        let helped = |entry: &Entry| entry.place == Place::Waiting && event.helps(&entry.plugins);
        let mut uids: Vec<PodUid> =
            self.entries.iter().filter(|(_, entry)| helped(entry)).map(|(uid, _)| uid.clone()).collect();
        uids.sort();
        for uid in uids {
            self.wake_one(&uid, now);
        }
    }

    /// Gives a refused pod another turn.
    pub fn retry(&mut self, uid: &PodUid, now: Instant) {
        if self.entries.get(uid).is_some_and(|entry| entry.place == Place::Waiting) {
            self.wake_one(uid, now);
        }
    }

    /// Activates the pods whose back-off is over.
    pub fn release(&mut self, now: Instant) {
        while let Some((due, uid)) = self.backing_off.first().cloned().filter(|(due, _)| *due <= now) {
            self.backing_off.remove(&(due, uid.clone()));
            self.activate(&uid);
        }
    }

    /// When `release` has something to do again.
    pub fn next_due(&self) -> Option<Instant> {
        self.backing_off.first().map(|(due, _)| *due)
    }

    fn wake_one(&mut self, uid: &PodUid, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match entry.ready_at.filter(|ready_at| *ready_at > now) {
            None => self.activate(uid),
            Some(due) => {
                entry.place = Place::BackingOff(due);
                self.backing_off.insert((due, uid.clone()));
            }
        }
    }

    fn activate(&mut self, uid: &PodUid) {
        self.leave(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let order = (Reverse(entry.pod.wish.priority), entry.pod.created.clone(), entry.arrival);
        entry.place = Place::Active(order.clone());
        self.active.insert(order, uid.clone());
    }

    fn leave(&mut self, uid: &PodUid) {
        match self.entries.get(uid).map(|entry| &entry.place) {
            Some(Place::Active(order)) => drop(self.active.remove(order)),
            Some(Place::BackingOff(due)) => drop(self.backing_off.remove(&(*due, uid.clone()))),
            Some(Place::Waiting | Place::Busy) | None => {}
        }
    }
}

/// `FIRST_WAIT`, doubled by every attempt after the first, up to `LONGEST_WAIT`.
fn wait(attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.checked_mul(factor).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, priority: i64, created: &str) -> Arc<Pod> {
        let meta = json!({"name": name, "namespace": "d", "uid": name, "creationTimestamp": created});
        Arc::new(Pod::read(&json!({"metadata": meta, "spec": {"priority": priority}})))
    }

    fn popped(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|pod| pod.key.name.clone()).collect()
    }

    fn uid(name: &str) -> PodUid {
        PodUid::new(name)
    }

    const CPU: [Plugin; 1] = [Plugin::NodeResourcesFit];

    #[test]
    fn by_priority_then_age_then_arrival() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority, created) in [("c", 0, "2"), ("b", 0, "1"), ("a", 5, "3"), ("d", 0, "2")] {
            queue.set(pod(name, priority, created), now);
        }
        queue.set(pod("d", 9, "2"), now);
        queue.set(pod("gone", 9, "1"), now);
        queue.remove(&uid("gone"));
        assert_eq!(popped(&mut queue), ["d", "a", "b", "c"]);
    }

    #[test]
    fn refused_pods_wait_for_what_helps() {
        let what = Differences::default();
        for (plugins, event, helped) in [
            (&CPU[..], Event::NodeAdded, true),
            (&[], Event::NodeAdded, true),
            (&CPU, Event::RoomFreed, true),
            (&CPU, Event::NodeChanged(Differences { taints: true, ..what }), false),
            (&CPU, Event::NodeChanged(Differences { allocatable: true, ..what }), true),
            (&[Plugin::TaintToleration], Event::NodeChanged(Differences { taints: true, ..what }), true),
            (&[Plugin::TaintToleration], Event::RoomFreed, false),
            (&[Plugin::NodeAffinity], Event::NodeChanged(Differences { labels: true, ..what }), true),
            (
                &[Plugin::NodeUnschedulable],
                Event::NodeChanged(Differences { unschedulable: true, ..what }),
                true,
            ),
            (&[Plugin::NodePorts], Event::RoomFreed, true),
            (&[Plugin::InterPodAffinity], Event::PodPlaced, true),
            (&[Plugin::InterPodAffinity], Event::NamespaceChanged, true),
            (&[Plugin::PodTopologySpread], Event::NamespaceChanged, false),
            (&[Plugin::PodTopologySpread], Event::NodeChanged(Differences { taints: true, ..what }), true),
            (&[Plugin::InterPodAffinity], Event::NodeChanged(Differences { taints: true, ..what }), false),
        ] {
            let (mut queue, now) = (Queue::default(), Instant::now());
            queue.set(pod("a", 0, ""), now);
            queue.pop();
            queue.refused(&uid("a"), plugins.iter().copied().collect(), now);
            queue.wake(event, now + LONGEST_WAIT);
            assert_eq!(popped(&mut queue).len(), usize::from(helped), "{plugins:?} {event:?}");
        }
    }

    #[test]
    fn the_wait_doubles_to_its_bound() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.set(pod("a", 0, ""), now);
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(popped(&mut queue), ["a"]);
            queue.refused(&uid("a"), CPU.into(), now);
            queue.wake(Event::RoomFreed, now);
            assert_eq!(queue.next_due(), Some(now + Duration::from_secs(seconds)));
            queue.release(now + Duration::from_secs(seconds) - Duration::from_millis(1));
            assert!(popped(&mut queue).is_empty());
            now += Duration::from_secs(seconds);
            queue.release(now);
        }
        // Nothing to wait for once the time has passed.
        queue.pop();
        queue.refused(&uid("a"), CPU.into(), now);
        queue.wake(Event::RoomFreed, now + LONGEST_WAIT);
        assert_eq!((popped(&mut queue).len(), queue.next_due()), (1, None));
    }

    #[test]
    fn another_wish_is_another_try() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.set(pod("a", 0, ""), now);
        queue.pop();
        queue.refused(&uid("a"), CPU.into(), now);
        queue.set(pod("a", 0, ""), now + LONGEST_WAIT);
        assert!(queue.pop().is_none(), "nothing has changed");
        queue.set(pod("a", 1, ""), now + LONGEST_WAIT);
        assert!(queue.pop().is_some());
        // Other labels may fit other constraints.
        queue.refused(&uid("a"), CPU.into(), now);
        let meta = json!({"name": "a", "namespace": "d", "uid": "a", "labels": {"app": "web"}});
        let labelled = Pod::read(&json!({"metadata": meta, "spec": {"priority": 1}}));
        queue.set(Arc::new(labelled), now + LONGEST_WAIT);
        assert!(queue.pop().is_some());
        queue.failed(&uid("a"), now);
        assert!(queue.next_due().is_some());
        queue.remove(&uid("a"));
        assert_eq!((queue.next_due(), queue.entries.len()), (None, 0));
    }
}
