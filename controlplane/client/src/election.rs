//! Of several that do the same work, one at a time: whoever holds a Lease.
//!
//! ```text
//! candidate ── the Lease is free, ours, or was not renewed while we watched it ──► leader ── renewed ──► leader
//!     ▲                                                                              └─ not renewed in time ──► lost
//! ```
//!
//! **Invariants**
//! - A holder stops before anybody else may begin: it gives up after [`RENEW_LIMIT`], others wait for [`LEASE_SECONDS`]
//!   of their own clock since they last saw a change. Clocks need not agree.
//! - The name of a holder is its server's, so a part that is restarted goes on at once.
//!
//! Reference: coordination.k8s.io/v1 Lease; client-go's leader election, whose durations these are.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Client, ClientError, Resource};

/// How long a Lease is good for after it was renewed.
const LEASE_SECONDS: u64 = 15;
/// How long a holder tries to renew it before it stops.
const RENEW_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Where Leases of the control plane are.
const NAMESPACE: &str = "kube-system";

/// The Lease was not renewed in time: somebody else may do the work now.
#[derive(Debug, thiserror::Error)]
#[error("{name} does not lead any more: its Lease could not be renewed for {} seconds", RENEW_LIMIT.as_secs())]
pub struct LeadershipLost {
    /// The Lease.
    pub name: &'static str,
}

/// Who wants to lead, and in what.
pub struct Election {
    client: Client,
    name: &'static str,
    identity: String,
}

impl Election {
    /// An election by the Lease `name` in kube-system.
    pub fn new(client: Client, name: &'static str, identity: String) -> Election {
        Election { client, name, identity }
    }

    /// Waits until this one leads, then does the work until it ends or the Lease is lost. Dropped, it lets the Lease
    /// run out; [`Election::release`] gives it back.
    pub async fn lead<T>(&self, work: impl Future<Output = T>) -> Result<T, LeadershipLost> {
        self.acquire().await;
        tracing::info!(lease = self.name, holder = self.identity, "this server leads");
        tokio::select! {
            done = work => Ok(done),
            () = self.keep() => Err(LeadershipLost { name: self.name }),
        }
    }

    /// Lets others lead at once.
    pub async fn release(&self) {
        let released = async {
            let mut lease = self.client.get(&Resource::LEASES, NAMESPACE, self.name).await?;
            if lease["spec"]["holderIdentity"] == json!(self.identity) {
                lease["spec"]["holderIdentity"] = json!("");
                lease["spec"]["leaseDurationSeconds"] = json!(1);
                self.client.update(&Resource::LEASES, &lease).await?;
            }
            Ok::<(), ClientError>(())
        };
        // It runs out by itself otherwise.
        let _ = tokio::time::timeout(LOOK_AGAIN, released).await;
    }

    async fn acquire(&self) {
        let mut seen: Option<(Value, Instant)> = None;
        loop {
            match self.attempt(&mut seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = self.name, %error, "the Lease is looked at again"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes the Lease where it may be taken.
    async fn attempt(&self, seen: &mut Option<(Value, Instant)>) -> Result<bool, ClientError> {
        let found = match self.client.get(&Resource::LEASES, NAMESPACE, self.name).await {
            Err(error) if error.is_not_found() => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.name, "namespace": NAMESPACE},
                    "spec": held(&Value::Null, &self.identity, (self.client.surroundings().now)())
                });
                self.client.create(&Resource::LEASES, NAMESPACE, &lease).await?;
                return Ok(true);
            }
            found => found?,
        };
        let since = match seen {
            Some((spec, since)) if *spec == found["spec"] => *since,
            _ => {
                let now = Instant::now();
                *seen = Some((found["spec"].clone(), now));
                now
            }
        };
        if !may_take(&found["spec"], &self.identity, since.elapsed()) {
            return Ok(false);
        }
        let mut lease = found;
        lease["spec"] = held(&lease["spec"], &self.identity, (self.client.surroundings().now)());
        self.client.update(&Resource::LEASES, &lease).await?;
        Ok(true)
    }

    /// Renews the Lease; comes back when that has failed for too long, or somebody else holds it.
    async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let mut seen = None;
            match tokio::time::timeout_at(renewed + RENEW_LIMIT, self.attempt(&mut seen)).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(_)) if renewed.elapsed() >= RENEW_LIMIT => return,
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "the Lease was not renewed; again")
                }
            }
        }
    }
}

/// Whether `identity` may take a Lease that has been seen unchanged for a while.
fn may_take(spec: &Value, identity: &str, unchanged: Duration) -> bool {
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    let seconds = spec["leaseDurationSeconds"].as_u64().unwrap_or(LEASE_SECONDS);
    holder.is_empty() || holder == identity || unchanged >= Duration::from_secs(seconds)
}

/// The spec of a Lease that `identity` holds from now on.
fn held(before: &Value, identity: &str, now: Timestamp) -> Value {
    let now = json!(now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
    let transitions = before["leaseTransitions"].as_u64().unwrap_or(0);
    let same = before["holderIdentity"] == json!(identity);
    let first = before.is_null();
    json!({
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": if same { before["acquireTime"].clone() } else { now.clone() },
        "renewTime": now,
        "leaseTransitions": if same || first { transitions } else { transitions + 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_stale() {
        let spec = |holder: &str| json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
        for (spec, unchanged, expected) in [
            (spec(""), 0, true),
            (spec("a"), 0, true),
            (spec("b"), 14, false),
            (spec("b"), 15, true),
            (json!({"holderIdentity": "b", "leaseDurationSeconds": 1}), 1, true),
            (json!({}), 0, true),
        ] {
            assert_eq!(may_take(&spec, "a", Duration::from_secs(unchanged)), expected, "{spec} {unchanged}");
        }
    }

    #[test]
    fn a_renewal_keeps_what_a_takeover_changes() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let first = held(&Value::Null, "a", then);
        assert_eq!(
            (&first["leaseTransitions"], &first["acquireTime"]),
            (&json!(0), &json!("1970-01-01T00:00:00.000000Z"))
        );
        let renewed = held(&first, "a", now);
        assert_eq!(
            (&renewed["acquireTime"], &renewed["leaseTransitions"]),
            (&first["acquireTime"], &json!(0))
        );
        assert_eq!(renewed["renewTime"], "1970-01-01T00:01:00.000000Z");
        let taken = held(&renewed, "b", now);
        assert_eq!((&taken["acquireTime"], &taken["leaseTransitions"]), (&taken["renewTime"], &json!(1)));
    }
}
