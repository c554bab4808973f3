//! A priority level: its seats, and who waits for one.
//!
//! ```text
//!   enter ─► a seat is free: taken
//!         ├► its flow's queue and the level's are not full: waits, at most WAIT
//!         └► refused
//!   seat dropped ─► the next flow's first waiter gets it (flows take turns)
//! ```
//!
//! **Invariant**: a seat that was given to a waiter who went away meanwhile goes on to the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

/// How long a request waits: a quarter of the minute that one may take, as upstream.
const WAIT: Duration = Duration::from_secs(15);

/// A level, compiled.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) name: String,
    pub(super) uid: String,
    /// None: everybody gets one.
    seats: Option<usize>,
    /// Who may wait: of one flow, and of all.
    waiting_of_flow: usize,
    waiting: usize,
    state: Mutex<State>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Flows in the order in which they are served next, each with its waiters.
    flows: VecDeque<(String, VecDeque<oneshot::Sender<Permit>>)>,
}

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Option<Arc<Level>>);

impl Level {
    pub(super) fn new(object: &Value, seats: usize) -> Level {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spec = &object["spec"];
        let queuing = &spec["limited"]["limitResponse"]["queuing"];
        let queues = spec["limited"]["limitResponse"]["type"] == "Queue";
        let number = |name: &str, default: u64| {
            usize::try_from(queuing[name].as_u64().unwrap_or(default)).unwrap_or(usize::MAX)
        };
        let of_flow = if queues { number("queueLengthLimit", 50) } else { 0 };
        Level {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            seats: (spec["type"] != "Exempt").then_some(seats.max(1)),
            waiting_of_flow: of_flow,
            waiting: of_flow.saturating_mul(number("queues", 64)),
            state: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether another level means the same.
    pub(super) fn is_like(&self, other: &Level) -> bool {
        let key = |level: &Level| (level.uid.clone(), level.seats, level.waiting_of_flow, level.waiting);
        self.name == other.name && key(self) == key(other)
    }

    #[cfg(test)]
    pub(super) fn seats(&self) -> Option<usize> {
        self.seats
    }

    pub(super) fn figures(&self) -> (String, usize, usize, u64) {
        let state = self.state();
        let waiting = state.flows.iter().map(|(_, waiters)| waiters.len()).sum();
        (self.name.clone(), state.taken, waiting, self.refused.load(Ordering::Relaxed))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat; none where too many wait, or the wait was too long.
    pub(super) async fn enter(self: &Arc<Level>, flow: &str) -> Option<Permit> {
        let waiter = match self.begin(flow) {
            Ok(permit) => return Some(permit),
            Err(waiter) => waiter,
        };
        let got = match waiter {
            Some(waiter) => tokio::time::timeout(WAIT, waiter).await.ok().and_then(Result::ok),
            None => None,
        };
        if got.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        got
    }

    /// A seat, or what it will come by; neither where too many wait.
    fn begin(self: &Arc<Level>, flow: &str) -> Result<Permit, Option<oneshot::Receiver<Permit>>> {
        let Some(seats) = self.seats else { return Ok(Permit(None)) };
        let mut state = self.state();
        if state.taken < seats {
            state.taken += 1;
            return Ok(Permit(Some(self.clone())));
        }
        // Who went away does not count.
        state.flows.iter_mut().for_each(|(_, waiters)| waiters.retain(|waiter| !waiter.is_closed()));
        state.flows.retain(|(_, waiters)| !waiters.is_empty());
        let all: usize = state.flows.iter().map(|(_, waiters)| waiters.len()).sum();
        let at = state.flows.iter().position(|(name, _)| name == flow);
        let own = at.map_or(0, |at| state.flows[at].1.len());
        if own >= self.waiting_of_flow || all >= self.waiting {
            return Err(None);
        }
        let (give, wait) = oneshot::channel();
        match at {
            Some(at) => state.flows[at].1.push_back(give),
            None => state.flows.push_back((flow.to_owned(), VecDeque::from([give]))),
        }
        Err(Some(wait))
    }

    /// The next waiter, its flow going to the end; the seat is free where nobody waits.
    fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut state = self.state();
        while let Some((flow, mut waiters)) = state.flows.pop_front() {
            let next = waiters.pop_front();
            if !waiters.is_empty() {
                state.flows.push_back((flow, waiters));
            }
            if next.is_some() {
                return next;
            }
        }
        state.taken -= 1;
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(level) = self.0.take() else { return };
        while let Some(waiter) = level.next() {
            match waiter.send(Permit(Some(level.clone()))) {
                Ok(()) => return,
                // Gone: the seat goes on from here, not from its permit.
                Err(mut permit) => drop(permit.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn level(seats: usize, of_flow: usize, queues: usize) -> Arc<Level> {
        let spec = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": queues, "queueLengthLimit": of_flow}}}});
        Arc::new(Level::new(&json!({"metadata": {"name": "l"}, "spec": spec}), seats))
    }

    #[tokio::test]
    async fn flows_take_turns() {
        let level = level(1, 10, 10);
        let seat = level.enter("a").await.unwrap();
        let mut waiting = Vec::new();
        for flow in ["a", "a", "a", "b", "c"] {
            let Err(Some(waiter)) = level.begin(flow) else { panic!("{flow} waits") };
            waiting.push((flow, waiter));
        }
        drop(seat);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let at = waiting.iter_mut().position(|(_, waiter)| {
                waiter.try_recv().is_ok_and(|permit| {
                    // Held until it is known whose it was.
                    std::mem::forget(permit);
                    true
                })
            });
            let (flow, _) = waiting.remove(at.expect("somebody got the seat"));
            order.push(flow);
            drop(Permit(Some(level.clone())));
        }
        assert_eq!(order, ["a", "b", "c", "a", "a"]);
        assert_eq!(level.figures(), ("l".into(), 0, 0, 0));
    }

    #[tokio::test]
    async fn too_many_are_refused_and_who_went_away_does_not_count() {
        let level = level(2, 1, 2);
        let (first, _second) = (level.enter("a").await.unwrap(), level.enter("a").await.unwrap());
        let Err(Some(gone)) = level.begin("a") else { panic!("a waits") };
        assert!(level.enter("a").await.is_none(), "one of a flow waits");
        let Err(Some(_other)) = level.begin("b") else { panic!("b waits") };
        assert!(level.enter("c").await.is_none(), "two of all wait");
        drop(gone);
        let Err(Some(mut last)) = level.begin("c") else { panic!("c waits") };
        drop(_other);
        drop(first);
        assert!(last.try_recv().is_ok(), "the seat goes past those who left");
        assert_eq!(level.figures().3, 2);
    }

    #[tokio::test]
    async fn nobody_waits_at_an_exempt_level() {
        let level = Arc::new(Level::new(&json!({"metadata": {"name": "e"}, "spec": {"type": "Exempt"}}), 0));
        for _ in 0..1000 {
            std::mem::forget(level.enter("a").await.unwrap());
        }
        assert_eq!(level.figures(), ("e".into(), 0, 0, 0));
    }
}
