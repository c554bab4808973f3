//! When a container that ended may start again: 10 s doubling to 5 min, forgotten after 10 min of running. Pure.
//!
//! Not persisted, as upstream: a restarted kubelet begins anew.
//!
//! Reference: client-go's `flowcontrol.Backoff` as the kubelet uses it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

pub const FIRST: Duration = Duration::from_secs(10);
pub const LONGEST: Duration = Duration::from_secs(300);

/// One thing's restarts, keyed by whatever may wait on its own.
#[derive(Clone, Debug, Default)]
pub struct Backoffs {
    entries: HashMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: Duration,
    /// When it was last counted.
    counted: Timestamp,
}

impl Backoffs {
    /// How long the thing has to wait, if it ended at `ended` and it is `now`: (the whole wait, what is left).
    pub fn waits(&self, key: &str, ended: Timestamp, now: Timestamp) -> Option<(Duration, Duration)> {
        let entry = self.entries.get(key).filter(|entry| !entry.expired(ended))?;
        let left = entry.wait.checked_sub(between(ended, now)).filter(|left| !left.is_zero())?;
        Some((entry.wait, left))
    }

    /// The thing starts again, or failed again: the next wait is twice as long.
    pub fn count(&mut self, key: &str, ended: Timestamp, now: Timestamp) {
        let wait = match self.entries.get(key) {
            Some(entry) if !entry.expired(ended) => (entry.wait * 2).min(LONGEST),
            _ => FIRST,
        };
        self.entries.insert(key.to_owned(), Entry { wait, counted: now });
    }

    /// The thing is well, or has changed.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

impl Entry {
    /// Whether it went well for so long that the past does not count.
    fn expired(&self, ended: Timestamp) -> bool {
        between(self.counted, ended) > LONGEST * 2
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// As Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) if duration.subsec_millis() == 0 => format!("{seconds}s"),
        (0, 0, 0) => format!("{}ms", duration.subsec_millis()),
        (0, 0, seconds) => {
            let text = format!("{seconds}.{:03}", duration.subsec_millis());
            format!("{}s", text.trim_end_matches('0'))
        }
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn doubles_and_forgets() {
        let mut backoffs = Backoffs::default();
        assert_eq!(backoffs.waits("a", at(0), at(0)), None, "the first restart is at once");
        backoffs.count("a", at(0), at(0));
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(backoffs.waits("a", at(1), at(1)).map(|(whole, _)| whole), wait(10));
        assert_eq!(backoffs.waits("a", at(1), at(4)).map(|(_, left)| left), wait(7));
        assert_eq!(backoffs.waits("a", at(1), at(11)), None);
        for (ended, whole) in [(11, 20), (31, 40), (71, 80), (151, 160), (311, 300), (611, 300)] {
            backoffs.count("a", at(ended), at(ended));
            assert_eq!(
                backoffs.waits("a", at(ended), at(ended)).map(|(whole, _)| whole),
                wait(whole),
                "{ended}"
            );
        }
        assert_eq!(backoffs.waits("a", at(611 + 601), at(611 + 601)), None, "ran for ten minutes");
        backoffs.count("a", at(611 + 601), at(611 + 601));
        assert_eq!(backoffs.waits("a", at(1213), at(1213)).map(|(whole, _)| whole), wait(10));
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (millis, text) in
            [(10_000, "10s"), (80_000, "1m20s"), (300_000, "5m0s"), (1_520, "1.52s"), (15, "15ms"), (0, "0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
