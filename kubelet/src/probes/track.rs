//! One probe of one running container: when it is due, and what its outcomes add up to. Pure; time is passed in.
//!
//! ```text
//! Waiting(until) ──due──▶ Asking ──outcome──▶ Waiting(one period later)
//!                                    └ liveness or startup failed, or startup succeeded ──▶ Resting
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::spec::Spec;
use super::{ProbeKind, Running};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// As good as success, with something to tell.
    Warning(String),
    Failure(String),
    /// Nothing was learned.
    Error(String),
}

/// What the probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting(Instant),
    Asking,
    /// Its word is spoken, for as long as the container lives.
    Resting,
}

/// The probe while one container runs.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) spec: usize,
    pub(super) id: String,
    pub(super) phase: Phase,
    /// Outcomes of one kind without another in between.
    run: (bool, u32),
    /// What was reported last.
    pub(super) verdict: Option<bool>,
    period: Duration,
}

/// What is known of a container from before: the API's word on the same id, after a restart of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) ready: bool,
    pub(super) started: bool,
}

impl Track {
    /// The probe begins: after the initial delay where the container has just started, within a period where it
    /// has been running for longer and many probes would fall into one moment. `share` is from 0 to 1.
    pub(super) fn begin(
        index: usize,
        spec: &Spec,
        running: &Running,
        known: Known,
        (now, wall_nanos): (Instant, i64),
        share: f64,
    ) -> Track {
        let age =
            Duration::from_nanos(u64::try_from(wall_nanos.saturating_sub(running.started_at)).unwrap_or(0));
        let left = spec.initial_delay.saturating_sub(age);
        let is_old = age > spec.initial_delay + spec.period;
        let due = now + if is_old { spec.period.mul_f64(share) } else { left };
        let verdict = match spec.kind {
            ProbeKind::Readiness => known.ready.then_some(true),
            ProbeKind::Startup => known.started.then_some(true),
            ProbeKind::Liveness => None,
        };
        let rests = spec.kind == ProbeKind::Startup && known.started;
        let phase = if rests { Phase::Resting } else { Phase::Waiting(due) };
        Track { spec: index, id: running.id.clone(), phase, run: (false, 0), verdict, period: spec.period }
    }

    /// When it has to ask next.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Asking | Phase::Resting => None,
        }
    }

    /// An attempt that was begun at `asked` ended; gives the verdict where it is another one now.
    pub(super) fn take(
        &mut self,
        spec: &Spec,
        outcome: &Outcome,
        asked: Instant,
        now: Instant,
    ) -> Option<bool> {
        self.phase = Phase::Waiting((asked + self.period).max(now));
        let success = match outcome {
            Outcome::Success | Outcome::Warning(_) => true,
            Outcome::Failure(_) => false,
            Outcome::Error(_) => return None,
        };
        self.run = if self.run.0 == success { (success, self.run.1 + 1) } else { (success, 1) };
        let threshold = if success { spec.success_threshold } else { spec.failure_threshold };
        if self.run.1 < threshold {
            return None;
        }
        let rests = match spec.kind {
            ProbeKind::Readiness => false,
            ProbeKind::Liveness => !success,
            ProbeKind::Startup => true,
        };
        if rests {
            self.phase = Phase::Resting;
        }
        (self.verdict.replace(success) != Some(success)).then_some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::spec::Handler;

    const SECOND: Duration = Duration::from_secs(1);

    fn spec(kind: ProbeKind, success_threshold: u32, failure_threshold: u32) -> Spec {
        Spec {
            container: "c".into(),
            kind,
            handler: Handler::Unknown,
            initial_delay: 5 * SECOND,
            period: 10 * SECOND,
            timeout: SECOND,
            success_threshold,
            failure_threshold,
            grace_seconds: None,
        }
    }

    fn running(started_at: i64) -> Running {
        Running { name: "c".into(), id: "1".into(), started_at }
    }

    #[tokio::test]
    async fn the_first_attempt_waits_for_the_initial_delay() {
        let now = Instant::now();
        let wall = 1_000_000_000_000;
        let begin = |age_seconds: i64| {
            let running = running(wall - age_seconds * 1_000_000_000);
            let spec = spec(ProbeKind::Readiness, 1, 3);
            Track::begin(0, &spec, &running, Known::default(), (now, wall), 0.5).due().unwrap() - now
        };
        for (age, expect) in [(0, 5 * SECOND), (3, 2 * SECOND), (9, Duration::ZERO), (60, 5 * SECOND)] {
            assert_eq!(begin(age), expect, "{age} s old");
        }
    }

    #[tokio::test]
    async fn thresholds_make_verdicts() {
        let check = |kind, (successes, failures), outcomes: &str, expect: &str| {
            let spec = spec(kind, successes, failures);
            let now = Instant::now();
            let mut track = Track::begin(0, &spec, &running(0), Known::default(), (now, 0), 0.0);
            let verdicts: String = outcomes
                .chars()
                .map(|outcome| match outcome {
                    '+' => Outcome::Success,
                    'w' => Outcome::Warning(String::new()),
                    '-' => Outcome::Failure(String::new()),
                    _ => Outcome::Error(String::new()),
                })
                .map(|outcome| match track.take(&spec, &outcome, now, now) {
                    _ if track.phase == Phase::Resting && outcome == Outcome::Success => 'R',
                    Some(true) => '+',
                    Some(false) => '-',
                    None => '.',
                })
                .collect();
            assert_eq!(verdicts, expect, "{kind:?} {outcomes}");
        };
        check(ProbeKind::Readiness, (1, 3), "+--+---+", "+.....-+");
        check(ProbeKind::Readiness, (2, 1), "-+-++-", "-...+-");
        check(ProbeKind::Readiness, (1, 1), "w?-", "+.-");
        check(ProbeKind::Liveness, (1, 3), "+--?-", "+...-");
        check(ProbeKind::Startup, (1, 5), "--+", "..R");
    }

    #[tokio::test]
    async fn what_the_api_knew_of_the_same_container_holds() {
        let now = Instant::now();
        let known = Known { ready: true, started: true };
        let of = |kind| Track::begin(0, &spec(kind, 1, 1), &running(0), known, (now, 0), 0.0);
        assert_eq!(of(ProbeKind::Startup).phase, Phase::Resting);
        let mut readiness = of(ProbeKind::Readiness);
        let spec = spec(ProbeKind::Readiness, 1, 1);
        assert_eq!(readiness.verdict, Some(true));
        assert_eq!(readiness.take(&spec, &Outcome::Success, now, now), None, "nothing new");
        assert_eq!(readiness.take(&spec, &Outcome::Failure(String::new()), now, now), Some(false));
    }

    #[tokio::test]
    async fn a_slow_attempt_does_not_pile_up() {
        let now = Instant::now();
        let spec = spec(ProbeKind::Readiness, 1, 1);
        let mut track = Track::begin(0, &spec, &running(0), Known::default(), (now, 0), 0.0);
        track.take(&spec, &Outcome::Success, now, now + SECOND);
        assert_eq!(track.due(), Some(now + 10 * SECOND));
        track.take(&spec, &Outcome::Success, now, now + 25 * SECOND);
        assert_eq!(track.due(), Some(now + 25 * SECOND));
    }
}
