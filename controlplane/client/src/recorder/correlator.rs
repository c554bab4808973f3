//! Which events are new, which only count, which are too many. Pure: the time is passed in.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::{Reference, Told};

/// Events remembered, and objects whose allowance is known.
const REMEMBERED: usize = 4096;
/// Events about one object at once, and the seconds after which one more may come.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    New,
    /// The same as one that was written: count it there.
    Count {
        name: String,
        count: u64,
    },
    Drop,
}

#[derive(Default)]
pub(super) struct Correlator {
    written: HashMap<Told, (String, u64)>,
    order: VecDeque<Told>,
    allowances: HashMap<Reference, (f64, Timestamp)>,
}

impl Correlator {
    pub(super) fn judge(&mut self, told: Told, now: Timestamp) -> Verdict {
        if !self.allowed(&told.about, now) {
            return Verdict::Drop;
        }
        match self.written.get_mut(&same(told)) {
            Some((name, count)) => {
                *count += 1;
                Verdict::Count { name: name.clone(), count: *count }
            }
            None => Verdict::New,
        }
    }

    /// The event is an object of this name now.
    pub(super) fn written(&mut self, told: Told, name: String) {
        let told = same(told);
        if self.written.insert(told.clone(), (name, 1)).is_none() {
            self.order.push_back(told);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.written.remove(&oldest);
            }
        }
    }

    /// A bucket of tokens per object.
    fn allowed(&mut self, about: &Reference, now: Timestamp) -> bool {
        let about = Reference { resource_version: String::new(), field_path: String::new(), ..about.clone() };
        if self.allowances.len() >= REMEMBERED && !self.allowances.contains_key(&about) {
            // Full buckets say nothing that a missing one does not.
            self.allowances.retain(|_, (left, since)| refilled(*left, *since, now) < BURST);
            if self.allowances.len() >= REMEMBERED {
                self.allowances.clear();
            }
        }
        let (left, since) = self.allowances.entry(about).or_insert((BURST, now));
        *left = refilled(*left, *since, now);
        *since = now;
        let allowed = *left >= 1.0;
        if allowed {
            *left -= 1.0;
        }
        allowed
    }
}

fn refilled(left: f64, since: Timestamp, now: Timestamp) -> f64 {
    let seconds = now.duration_since(since).as_secs_f64().max(0.0);
    (left + seconds / REFILL_SECONDS).min(BURST)
}

/// What makes two events the same: all but the object's version.
fn same(mut told: Told) -> Told {
    told.about.resource_version.clear();
    told
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::*;

    fn told(name: &str, message: &str) -> Told {
        let about = Reference { kind: "Pod".into(), name: name.into(), ..Reference::default() };
        Told { about, kind: EventKind::Normal, reason: "R".into(), message: message.into() }
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut correlator = Correlator::default();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(correlator.judge(told("a", "x"), now), Verdict::New);
        correlator.written(told("a", "x"), "a.1".into());
        let mut later = told("a", "x");
        later.about.resource_version = "9".into();
        assert_eq!(correlator.judge(later, now), Verdict::Count { name: "a.1".into(), count: 2 });
        assert_eq!(correlator.judge(told("a", "y"), now), Verdict::New);
        assert_eq!(correlator.judge(told("b", "x"), now), Verdict::New);
    }

    #[test]
    fn too_many_are_dropped_until_time_passes() {
        let mut correlator = Correlator::default();
        let now = Timestamp::UNIX_EPOCH;
        let dropped =
            (0..40).filter(|n| correlator.judge(told("a", &n.to_string()), now) == Verdict::Drop).count();
        assert_eq!(dropped, 15);
        let later = now + jiff::SignedDuration::from_secs(301);
        assert_eq!(correlator.judge(told("a", "z"), later), Verdict::New);
        assert_eq!(correlator.judge(told("b", "z"), now), Verdict::New);
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for n in 0..REMEMBERED + 10 {
            correlator.judge(told(&n.to_string(), ""), Timestamp::UNIX_EPOCH);
            correlator.written(told(&n.to_string(), ""), n.to_string());
        }
        assert_eq!((correlator.written.len(), correlator.order.len()), (REMEMBERED, REMEMBERED));
        assert!(correlator.allowances.len() <= REMEMBERED);
    }
}
