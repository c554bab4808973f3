//! Certificates are renewed when two thirds of their life are over; until then nothing is done.

use std::time::Duration;

use client::{Backoff, Surroundings};
use tokio_util::sync::CancellationToken;

use crate::Machine;
use crate::identity::{KINDS, Kind};

/// After a renewal that did not work.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The clock may be set meanwhile: no wait is longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Keeps a node's certificates good until `stopping`.
pub async fn keep(machine: Machine, surroundings: Surroundings, stopping: CancellationToken) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let now = (surroundings.now)().as_second();
        let wait = match pass(&machine, surroundings, now).await {
            Ok(seconds) => {
                backoff.reset();
                Duration::from_secs(seconds.unsigned_abs()).min(LONGEST_SLEEP)
            }
            Err(error) => {
                tracing::warn!(node = %machine.name, %error, "a certificate is not renewed yet");
                backoff.next(surroundings.random)
            }
        };
        if stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Renews what is due; seconds until the next is.
async fn pass(machine: &Machine, surroundings: Surroundings, now: i64) -> Result<i64, crate::JoinError> {
    let mut next = i64::MAX;
    for kind in KINDS {
        let mut left = left(machine, kind, now);
        if left <= 0 {
            let client = machine.client(surroundings)?;
            machine.renew(&client, kind).await?;
            tracing::info!(node = %machine.name, certificate = ?kind, "renewed");
            left = self::left(machine, kind, now).max(1);
        }
        next = next.min(left);
    }
    Ok(next)
}

/// Seconds until a certificate is due; none where it is not there.
fn left(machine: &Machine, kind: Kind, now: i64) -> i64 {
    let life = machine.read(kind).and_then(|pair| pair.validity("it").ok());
    life.map_or(0, |(begin, end)| due(begin, end) - now)
}

/// When two thirds are over.
fn due(begin: i64, end: i64) -> i64 {
    end - (end - begin) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds() {
        assert_eq!(due(0, 900), 600);
        assert_eq!(due(1000, 1000), 1000);
    }
}
