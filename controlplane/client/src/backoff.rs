//! How long to wait before the next try: doubling, bounded, spread.

use std::time::Duration;

/// A growing wait. `next` doubles it up to the bound; `reset` begins anew.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub const fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, failures: 0 }
    }

    /// The wait after one more failure: between half and all of the doubled time, so that many do not return at once.
    pub fn next(&mut self, random: fn(u64) -> u64) -> Duration {
        let whole = exponential(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random(spread.max(1)))
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `first * 2^failures`, at most `most`.
pub(crate) fn exponential(first: Duration, most: Duration, failures: u32) -> Duration {
    first.checked_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).map_or(most, |wait| wait.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_bound() {
        let (first, most) = (Duration::from_millis(5), Duration::from_secs(1000));
        for (failures, wait) in [(0, 5), (1, 10), (2, 20), (10, 5120), (18, 1_000_000), (200, 1_000_000)] {
            assert_eq!(exponential(first, most, failures), Duration::from_millis(wait), "{failures}");
        }
        let mut backoff = Backoff::new(first, most);
        assert_eq!(backoff.next(|_| 0), Duration::from_micros(2500));
        assert_eq!(backoff.next(|_| 0), Duration::from_millis(5));
        backoff.reset();
        assert_eq!(backoff.next(|_| 0), Duration::from_micros(2500));
    }
}
