//! The parts of one process: each a task of its own, started again when it ends without being asked to.
//!
//! ```text
//! start ─► running ─► ended or panicked ─► wait (grows) ─► start
//!                                   └─ five times in a minute: the process ends, its supervisor goes on
//! ```
//!
//! **Invariants.** A part's end never ends another part. A part that is asked to stop gets a bounded time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// So many ends within [`WINDOW`] are too many.
pub const ENDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Waits before a part is started again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long parts may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

type Run = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One part of a process.
pub struct Part {
    pub name: &'static str,
    start: Box<dyn Fn(CancellationToken) -> Run + Send + Sync>,
}

impl Part {
    /// A part that `start` runs until its token is cancelled; it may be started several times.
    pub fn new<F>(name: &'static str, start: impl Fn(CancellationToken) -> F + Send + Sync + 'static) -> Part
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Part { name, start: Box::new(move |stopping| Box::pin(start(stopping))) }
    }

    /// A part that reads its flags as its own command would.
    pub fn with_flags<O, F>(
        name: &'static str,
        flags: impl IntoIterator<Item = String>,
        run: impl Fn(O, CancellationToken) -> F + Copy + Send + Sync + 'static,
    ) -> Part
    where
        O: clap::Parser + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let command = std::iter::once(format!("keelson {name}"));
        let arguments: Vec<String> = command.chain(flags).collect();
        Part::new(name, move |stopping| {
            let options = O::try_parse_from(&arguments);
            async move { run(options?, stopping).await }
        })
    }
}

/// Runs parts until `stopping`. An error: one of them ends again and again.
pub async fn run(parts: Vec<Part>, stopping: CancellationToken) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    for part in parts {
        running.spawn(keep_running(part, stopping.clone()));
    }
    let ended = loop {
        match running.join_next().await {
            None => break Ok(()),
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => break Err(error),
            Some(Err(error)) => break Err(error.into()),
        }
    };
    stopping.cancel();
    let rest = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, rest).await.is_err() {
        tracing::warn!("a part does not stop; it is cut off");
    }
    ended
}

async fn keep_running(part: Part, stopping: CancellationToken) -> anyhow::Result<()> {
    let mut ends = Ends::default();
    loop {
        let ended = tokio::spawn((part.start)(stopping.clone())).await;
        if stopping.is_cancelled() {
            return Ok(());
        }
        match ended {
            Ok(Ok(())) => tracing::error!(of = part.name, "the part ended"),
            Ok(Err(error)) => {
                tracing::error!(of = part.name, error = format!("{error:#}"), "the part failed");
            }
            Err(error) => tracing::error!(of = part.name, %error, "the part broke"),
        }
        let Some(wait) = ends.another() else { bail!("{} ended {ENDS} times within a minute", part.name) };
        if stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Ok(());
        }
    }
}

/// The recent ends of one part or process.
#[derive(Debug, Default)]
pub struct Ends {
    at: VecDeque<Instant>,
}

impl Ends {
    /// Counts one more; how long to wait before the next start, or nothing where there were too many.
    pub fn another(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.at.push_back(now);
        self.at.retain(|end| now.duration_since(*end) < WINDOW);
        (self.at.len() < ENDS).then(|| wait_after(self.at.len()))
    }
}

/// Doubles with every recent end.
fn wait_after(ends: usize) -> Duration {
    let doublings = u32::try_from(ends.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<u128> = (1..=7).map(|ends| wait_after(ends).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_breaks_is_started_again() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = starts.clone();
        let breaking = Part::new("breaking", move |stopping: CancellationToken| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0 => panic!("broken"),
                    1 => anyhow::bail!("failed"),
                    _ => stopping.cancelled().await,
                }
                Ok(())
            }
        });
        let steady = Part::new("steady", |stopping: CancellationToken| async move {
            stopping.cancelled().await;
            Ok(())
        });
        let stopping = CancellationToken::new();
        let running = tokio::spawn(run(vec![breaking, steady], stopping.clone()));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        stopping.cancel();
        running.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_ends_again_and_again_ends_the_process() {
        let part = Part::new("hopeless", |_| async { anyhow::bail!("no") });
        let error = run(vec![part], CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "hopeless ended 5 times within a minute");
    }
}
