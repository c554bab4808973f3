//! Which servers are there: each tells it by a key that dies with a lease, and all make the endpoints of the
//! `kubernetes` Service of those keys.
//!
//! ```text
//!   /registry/masterleases/<address>   the port     written at start, kept alive every 5 s, gone 15 s after the last time
//!   any of them comes or goes ─► desired(all of them) ─► Endpoints and EndpointSlice default/kubernetes
//! ```
//!
//! A server that stops in order ends its lease first, so that nobody is sent to it any more. A server that listens only
//! on loopback is no endpoint and tells nothing.
//!
//! **Invariant**: what is written depends on the keys alone, not on who writes; servers never undo each other's work.
//!
//! Reference: upstream's lease endpoint reconciler, whose keys these are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use store::{
    Command, KeyRange, LeaseId, Operation, ProposeError, RangeRequest, Store, Transaction, Urgency, Watcher,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::bootstrap::kubernetes_service;
use crate::server::Server;

const PREFIX: &str = "/registry/masterleases/";
/// How long a server that is silent is still an endpoint.
const LEASE_SECONDS: u64 = 15;
/// Between two signs of life.
const RENEW: Duration = Duration::from_secs(5);
/// After a failure, such as a store without a leader.
const RETRY: Duration = Duration::from_secs(1);
/// How long a server that stops tries to say so.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Servers that are looked at; the store has seven members at most.
const SERVERS_LIMIT: usize = 64;

/// The endpoints of the Service: servers of one family and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// What the endpoints are to be. One slice has one family and one port: of servers that differ, most win.
fn desired(servers: &BTreeMap<IpAddr, u16>) -> Endpoints {
    let mut alike: BTreeMap<(bool, u16), Vec<IpAddr>> = BTreeMap::new();
    for (address, port) in servers {
        alike.entry((address.is_ipv6(), *port)).or_default().push(*address);
    }
    let mut best = Endpoints::default();
    for ((_, port), addresses) in alike {
        if addresses.len() > best.addresses.len() {
            best = Endpoints { addresses, port };
        }
    }
    best
}

/// The task that tells and looks; ends when the server stops.
#[derive(Debug)]
pub struct Presence(Option<JoinHandle<()>>);

impl Presence {
    /// Tells that this server is there, and makes the endpoints true before it comes back.
    pub async fn start(server: Arc<Server>, own: (IpAddr, u16)) -> Result<Presence, Status> {
        if own.0.is_loopback() || own.0.is_unspecified() {
            return Ok(Presence(None));
        }
        let mut work = Work { server, own, lease: 0 };
        work.tell().await.map_err(|error| Status::service_unavailable(error.to_string()))?;
        // From before it is looked: nothing that comes in between is missed.
        let watcher = work.watch();
        work.reconcile().await?;
        Ok(Presence(Some(tokio::spawn(work.run(watcher)))))
    }

    /// Waits until others were told that this server stops; its stopping began before.
    pub async fn left(&mut self) {
        if let Some(task) = self.0.take() {
            // It ends by itself, within the limit of its last word; what is left of it then has nobody to tell.
            let _ = timeout(LEAVE_LIMIT * 2, task).await;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

struct Work {
    server: Arc<Server>,
    own: (IpAddr, u16),
    /// 0: none.
    lease: LeaseId,
}

impl Work {
    async fn run(mut self, mut watcher: Watcher) {
        let stopping = self.server.stopping.clone();
        let mut renew = Instant::now() + RENEW;
        loop {
            let failed = tokio::select! {
                () = stopping.cancelled() => return self.leave().await,
                () = tokio::time::sleep_until(renew) => {
                    renew = Instant::now() + RENEW;
                    self.tell().await.err().map(|error| error.to_string())
                }
                changed = watcher.next() => match changed {
                    Err(store::WatchError::Closed) => return,
                    Err(error) => {
                        watcher = self.watch();
                        Some(error.to_string())
                    }
                    Ok(_) => None,
                },
            };
            // Also where only a sign of life was due: what somebody changed by hand is mended.
            let failed = match failed {
                None => self.reconcile().await.err().map(|status| status.message),
                failed => failed,
            };
            if let Some(error) = failed {
                tracing::warn!(error, "the endpoints of the API are not looked after; it is tried again");
                renew = Instant::now() + RETRY;
            }
        }
    }

    fn watch(&self) -> Watcher {
        let store = &self.server.store;
        store.watch(KeyRange::prefix(PREFIX), store.state().revision().next())
    }

    /// A sign of life: the lease goes on, or begins.
    async fn tell(&mut self) -> Result<(), ProposeError> {
        let store = &self.server.store;
        let now_millis = self.server.now().as_millisecond().max(0).unsigned_abs();
        if self.lease != 0 {
            match store.command(Command::LeaseKeepAlive { id: self.lease, now_millis }).await {
                Ok(_) => {
                    self.server.look_after_leases();
                    return Ok(());
                }
                // It ended: this machine slept, or the store had no leader.
                Err(ProposeError::Refused(_)) => self.lease = 0,
                Err(error) => return Err(error),
            }
        }
        let id = self.server.random(i64::MAX.unsigned_abs() - 1) + 1;
        store.command(Command::LeaseGrant { id, ttl_seconds: LEASE_SECONDS, now_millis }).await?;
        let (key, value) = (format!("{PREFIX}{}", self.own.0), self.own.1.to_string());
        let put = Operation::Put { key: key.into(), value: value.into(), lease: id };
        store.transact(Transaction { success: vec![put], ..Transaction::default() }, Urgency::Now).await?;
        self.lease = id;
        self.server.look_after_leases();
        Ok(())
    }

    async fn leave(self) {
        let left = self.server.store.command(Command::LeaseRevoke(self.lease));
        match timeout(LEAVE_LIMIT, left).await {
            Ok(Ok(_)) => {}
            // Its lease ends by itself.
            _ => tracing::info!("the other servers could not be told that this one stops"),
        }
    }

    async fn reconcile(&self) -> Result<(), Status> {
        let store = &self.server.store;
        store.barrier().await.map_err(|error| Status::service_unavailable(error.to_string()))?;
        let servers = observe(store)?;
        let endpoints = desired(&servers);
        if endpoints.addresses.is_empty() {
            return Ok(());
        }
        if servers.len() > endpoints.addresses.len() {
            tracing::warn!(?servers, "servers with another port or family are no endpoints of the Service");
        }
        kubernetes_service::point(&self.server, &endpoints).await
    }
}

/// Who told that it is there.
fn observe(store: &Store) -> Result<BTreeMap<IpAddr, u16>, Status> {
    let request = RangeRequest { range: KeyRange::prefix(PREFIX), revision: None, limit: SERVERS_LIMIT };
    let page = store.state().range(&request).map_err(Status::internal)?;
    Ok(page.records.iter().filter_map(|record| read(&record.key, &record.value)).collect())
}

fn read(key: &[u8], value: &[u8]) -> Option<(IpAddr, u16)> {
    let address = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok()?;
    Some((address, std::str::from_utf8(value).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(servers: &[(&str, u16)], addresses: &[&str], port: u16) {
        let servers = servers.iter().map(|(address, port)| (address.parse().unwrap(), *port)).collect();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(desired(&servers), Endpoints { addresses, port });
    }

    #[test]
    fn endpoints_are_the_servers_that_told() {
        check(&[], &[], 0);
        check(&[("192.0.2.2", 6443)], &["192.0.2.2"], 6443);
        check(&[("192.0.2.2", 6443), ("192.0.2.1", 6443)], &["192.0.2.1", "192.0.2.2"], 6443);
        check(
            &[("192.0.2.1", 7443), ("192.0.2.2", 6443), ("192.0.2.3", 6443)],
            &["192.0.2.2", "192.0.2.3"],
            6443,
        );
        check(&[("192.0.2.1", 6443), ("2001:db8::1", 6443)], &["192.0.2.1"], 6443);
        check(&[("192.0.2.1", 7443), ("192.0.2.2", 6443)], &["192.0.2.2"], 6443);
    }

    #[test]
    fn keys_are_read_back() {
        assert_eq!(
            read(b"/registry/masterleases/2001:db8::1", b"6443"),
            Some(("2001:db8::1".parse().unwrap(), 6443))
        );
        assert_eq!(read(b"/registry/masterleases/x", b"6443"), None);
        assert_eq!(read(b"/registry/masterleases/192.0.2.1", b""), None);
    }
}
