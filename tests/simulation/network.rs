//! A network between members: each direction of each pair has its own faults.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keelson_store::raft::{CallError, Called, Handler, Lane, Peer, Refusal, Request, Response, Transport};

use tokio::sync::Notify;

use super::random::Random;

/// What happens to messages of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Nothing arrives.
    pub cut: bool,
    /// All of it arrives, once the weather changes.
    pub held: bool,
    /// So many of a hundred get lost.
    pub loss: u64,
    /// So many of a hundred arrive twice, the second time later.
    pub doubled: u64,
    /// Each takes a random time up to this: they overtake each other.
    pub delay_millis: u64,
}

/// All links. Members are known by their place.
#[derive(Debug)]
pub struct Network {
    handlers: Mutex<HashMap<u64, (usize, Handler)>>,
    weather: Mutex<HashMap<(usize, usize), Weather>>,
    /// The weather has changed.
    changed: Notify,
    random: Mutex<Random>,
}

/// What becomes of one message.
struct Fate {
    arrives: bool,
    again: bool,
    delay: Duration,
}

impl Network {
    pub fn new(random: Random) -> Network {
        Network {
            handlers: Mutex::default(),
            weather: Mutex::default(),
            changed: Notify::new(),
            random: Mutex::new(random),
        }
    }

    pub fn plug(&self, id: u64, at: usize, handler: Handler) {
        self.handlers.lock().unwrap().insert(id, (at, handler));
    }

    pub fn unplug(&self, id: u64) {
        self.handlers.lock().unwrap().remove(&id);
    }

    pub fn set(&self, from: usize, to: usize, weather: Weather) {
        self.weather.lock().unwrap().insert((from, to), weather);
    }

    /// Every link is good again.
    pub fn heal(&self) {
        self.weather.lock().unwrap().clear();
        self.changed.notify_waiters();
    }

    /// Waits while messages of this direction are held.
    async fn flows(&self, from: usize, to: usize) {
        loop {
            let changed = self.changed.notified();
            let held = self.weather.lock().unwrap().get(&(from, to)).is_some_and(|weather| weather.held);
            if !held {
                return;
            }
            changed.await;
        }
    }

    fn fate(&self, from: usize, to: usize) -> Fate {
        let weather = self.weather.lock().unwrap().get(&(from, to)).copied().unwrap_or_default();
        let mut random = self.random.lock().unwrap();
        Fate {
            arrives: !weather.cut && !random.percent(weather.loss),
            again: random.percent(weather.doubled),
            delay: Duration::from_millis(random.below(weather.delay_millis + 1)),
        }
    }

    fn handler(&self, id: u64) -> Option<(usize, Handler)> {
        self.handlers.lock().unwrap().get(&id).cloned()
    }
}

/// One member's end of the network.
pub struct Plug {
    pub network: Arc<Network>,
    pub at: usize,
}

impl Transport for Plug {
    fn call(&self, _lane: Lane, to: u64, _peer: &Peer, request: Request, limit: Duration) -> Called<'_> {
        let (network, from) = (self.network.clone(), self.at);
        Box::pin(async move {
            let late = || CallError::Lost("no answer in time".into());
            tokio::time::timeout(limit, exchange(network, from, to, request))
                .await
                .unwrap_or_else(|_| Err(late()))
        })
    }
}

async fn exchange(
    network: Arc<Network>,
    from: usize,
    to: u64,
    request: Request,
) -> Result<Response, CallError> {
    let Some((at, handler)) = network.handler(to) else {
        return Err(CallError::Unreachable("nobody is there".into()));
    };
    // As on a wire: what arrives is a copy, and it can arrive twice.
    let bytes = postcard::to_stdvec(&request).map_err(|error| CallError::Unreachable(error.to_string()))?;
    let there = network.fate(from, at);
    if !there.arrives {
        // Who waits for an answer that cannot come keeps nobody alive.
        drop(handler);
        return std::future::pending().await;
    }
    tokio::time::sleep(there.delay).await;
    network.flows(from, at).await;
    if there.again {
        let (handler, bytes, delay) = (handler.clone(), bytes.clone(), there.delay * 2);
        // Commands of users go over a connection that numbers them; Raft's own messages must bear it.
        if !matches!(request, Request::Propose { .. } | Request::Change(_) | Request::Snapshot(_)) {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = deliver(&handler, &bytes).await;
            });
        }
    }
    let outcome = deliver(&handler, &bytes).await;
    drop(handler);
    let back = network.fate(at, from);
    if !back.arrives {
        return std::future::pending().await;
    }
    tokio::time::sleep(back.delay).await;
    network.flows(at, from).await;
    outcome.map_err(CallError::Refused)
}

async fn deliver(handler: &Handler, bytes: &[u8]) -> Result<Response, Refusal> {
    let request = postcard::from_bytes(bytes).map_err(|error| Refusal::Failed(error.to_string()))?;
    let answer = handler.handle(request).await;
    let bytes = postcard::to_stdvec(&answer).map_err(|error| Refusal::Failed(error.to_string()))?;
    postcard::from_bytes(&bytes).map_err(|error| Refusal::Failed(error.to_string()))?
}
