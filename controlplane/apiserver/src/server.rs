//! The API server: what its verbs share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::kind::Kind;
use api::status::Status;
use ipnet::IpNet;
use store::{Command, Revision, Store};
use tokio_util::sync::CancellationToken;

use crate::admission::{Allocator, Hooks, Policies};
use crate::authorization::Authorizer;
use crate::cache::{CacheError, Caches, KindCache};
use crate::encryption::Encryption;
use crate::housekeeping::Housekeeper;
use crate::kinds::Kinds;

/// How long an Event lives: upstream's `--event-ttl`.
const EVENT_SECONDS: u64 = 3600;
/// Events that share a lease are born within this time, so that leases stay few.
const LEASE_SHARED_SECONDS: u64 = 60;

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;
/// Draws a number below its argument.
pub type Random = Arc<dyn Fn(u64) -> u64 + Send + Sync>;

/// State shared by all requests.
pub struct Server {
    /// The store.
    pub store: Store,
    /// The watch caches.
    pub caches: Arc<Caches>,
    /// What objects are encrypted with.
    pub encryption: Arc<Encryption>,
    /// The kinds that are served.
    pub registry: Kinds,
    /// Who may what.
    pub authorizer: Arc<Authorizer>,
    /// Cluster IPs and node ports.
    pub allocator: Allocator,
    /// Admission webhooks.
    pub hooks: Hooks,
    /// Validating admission policies.
    pub policies: Policies,
    /// Cancelled when the server stops: streams without an end end then.
    pub stopping: CancellationToken,
    /// Reads the wall clock.
    pub clock: Clock,
    random: Random,
    /// Brings the store's events to the caches; ended with the server.
    follower: tokio::task::JoinHandle<()>,
    /// Compacts the store and ends leases.
    housekeeper: Housekeeper,
    /// The lease that Events get now, and when it was made, in seconds.
    event_lease: (AtomicU64, AtomicU64),
}

impl Server {
    /// Fills the caches and follows the store.
    pub async fn new(
        store: Store,
        service_ranges: &[IpNet],
        encryption: Arc<Encryption>,
        clock: Clock,
        random: Random,
        compaction_interval: Duration,
        stopping: CancellationToken,
    ) -> Result<Arc<Server>, CacheError> {
        let registry = Kinds::builtin();
        let (caches, follower) = Caches::start(&store, &registry.current(), encryption.clone()).await?;
        let event_lease = (AtomicU64::new(0), AtomicU64::new(0));
        let allocator = Allocator::new(service_ranges);
        let housekeeper = Housekeeper::start(store.clone(), clock.clone(), compaction_interval);
        Ok(Arc::new(Server {
            store,
            caches,
            encryption,
            registry,
            authorizer: Arc::default(),
            allocator,
            hooks: Hooks::default(),
            policies: Policies::default(),
            stopping,
            clock,
            random,
            follower,
            housekeeper,
            event_lease,
        }))
    }

    /// Now.
    pub fn now(&self) -> jiff::Timestamp {
        (self.clock)()
    }

    /// A number below `below`.
    pub fn random(&self, below: u64) -> u64 {
        (self.random)(below)
    }

    /// A new uid: a random UUID (RFC 9562, version 4).
    pub fn uid(&self) -> String {
        let half = || u128::from(self.random(u64::MAX));
        let bits = (half() << 64 | half()) & !(0xf000 << 64) & !(0xc << 60) | 0x4000 << 64 | 0x8 << 60;
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The cache of a stored kind.
    pub fn cache(&self, kind: &Kind) -> Result<Arc<KindCache>, Status> {
        self.caches.of(kind).ok_or_else(|| Status::method_not_supported(kind.qualified_resource(), "get"))
    }

    /// Waits until a read from the caches is as new as `revision` asks: `None` for everything that was
    /// acknowledged before now, 0 for anything.
    pub async fn fresh(&self, revision: Option<u64>) -> Result<Revision, Status> {
        let wanted = match revision {
            Some(0) => return Ok(self.caches.revision()),
            Some(revision) => Revision(revision),
            None => {
                self.store.barrier().await.map_err(|error| Status::service_unavailable(error.to_string()))?;
                self.store.state().revision()
            }
        };
        self.caches
            .reach(wanted)
            .await
            .map_err(|reached| Status::too_large_resource_version(wanted.0, reached.0, 1))
    }

    /// There is a lease that ends earlier than those before.
    pub fn look_after_leases(&self) {
        self.housekeeper.look();
    }

    /// The lease that objects of a kind die with: Events after an hour, others never.
    pub async fn lease_of(&self, kind: &Kind) -> Result<u64, Status> {
        if kind.storage.is_none_or(|storage| storage.resource != "events") {
            return Ok(0);
        }
        let now = self.now().as_millisecond().max(0).unsigned_abs();
        let (lease, made) = (&self.event_lease.0, &self.event_lease.1);
        let id = lease.load(Ordering::Acquire);
        if id != 0 && now / 1000 < made.load(Ordering::Acquire) + LEASE_SHARED_SECONDS {
            return Ok(id);
        }
        // Two requests may each make one: the earlier is used up by those that saw it.
        let id = self.random(i64::MAX.unsigned_abs() - 1) + 1;
        let ttl_seconds = EVENT_SECONDS + LEASE_SHARED_SECONDS;
        let grant = Command::LeaseGrant { id, ttl_seconds, now_millis: now };
        self.store.command(grant).await.map_err(|error| Status::service_unavailable(error.to_string()))?;
        self.housekeeper.look();
        made.store(now / 1000, Ordering::Release);
        lease.store(id, Ordering::Release);
        Ok(id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("revision", &self.caches.revision()).finish_non_exhaustive()
    }
}
