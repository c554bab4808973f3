//! The log thread: gathers proposals, writes and syncs them, hands them on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Instant;

use super::apply::Synced;
use super::{Proposal, SingleOptions};
use crate::command::Urgency;
use crate::consensus::ProposeError;
use crate::health::Gauge;
use crate::log::{Log, LogError};

/// Bytes of one batch, past which the rest waits for the next sync.
const BATCH_BYTES: usize = 4 << 20;
/// Proposals of one batch.
const BATCH_PROPOSALS: usize = 1024;

pub(super) struct Journal {
    pub(super) log: Log,
    pub(super) proposals: Receiver<Proposal>,
    pub(super) batches: SyncSender<Synced>,
    /// Indexes up to which the state is on disk.
    pub(super) forget: Receiver<u64>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) options: SingleOptions,
}

impl Journal {
    pub(super) fn run(mut self) {
        while let Some(batch) = self.gather() {
            match self.persist(&batch) {
                Ok(first) => {
                    let bytes = batch.iter().map(|proposal| proposal.payload.len() as u64).sum();
                    let numbered = (first..).zip(batch);
                    let (entries, replies) = numbered.map(|(n, p)| ((n, p.command), p.reply)).unzip();
                    if self.batches.send(Synced { entries, replies, bytes }).is_err() {
                        // The state failed: at a close this thread ends first.
                        self.gauge.fail();
                        return;
                    }
                }
                Err(Failure::NotWritten(error)) => {
                    tracing::error!(%error, "the store refuses writes until its disk takes them");
                    refuse(batch, &error);
                }
                Err(Failure::Unknown(error)) => {
                    tracing::error!(%error, "the store's log failed; it takes no writes until it is restarted");
                    self.gauge.fail();
                    refuse(batch, &error);
                    return self.refuse_all(&error);
                }
            }
            self.drop_old_segments();
        }
    }

    /// Waits for a proposal and takes all that are there. A batch of relaxed ones waits for company.
    fn gather(&self) -> Option<Vec<Proposal>> {
        let mut batch = vec![self.proposals.recv().ok()?];
        let deadline = Instant::now() + self.options.relaxed_delay;
        let mut bytes = batch[0].payload.len();
        let mut urgent = batch[0].urgency == Urgency::Now;
        while bytes < BATCH_BYTES && batch.len() < BATCH_PROPOSALS {
            let wait =
                if urgent { Default::default() } else { deadline.saturating_duration_since(Instant::now()) };
            match self.proposals.recv_timeout(wait) {
                Ok(proposal) => {
                    bytes += proposal.payload.len();
                    urgent |= proposal.urgency == Urgency::Now;
                    batch.push(proposal);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Some(batch)
    }

    /// Puts a batch on disk; returns the index of its first entry.
    fn persist(&mut self, batch: &[Proposal]) -> Result<u64, Failure> {
        let first = self.log.next();
        for proposal in batch {
            self.log.stage(&proposal.payload);
        }
        self.log.write(batch.len() as u64).map_err(|error| match error {
            LogError::Io { action: "writing to", .. } => Failure::NotWritten(error),
            error => Failure::Unknown(error),
        })?;
        let begun = Instant::now();
        self.log.sync().map_err(Failure::Unknown)?;
        self.gauge.synced(batch.len(), begun.elapsed());
        Ok(first)
    }

    fn drop_old_segments(&mut self) {
        while let Ok(index) = self.forget.try_recv() {
            if let Err(error) = self.log.forget(index) {
                tracing::warn!(%error, "an old part of the store's log stays on disk");
            }
        }
    }

    fn refuse_all(&self, error: &LogError) {
        while let Ok(proposal) = self.proposals.recv() {
            refuse(vec![proposal], error);
        }
    }
}

enum Failure {
    /// Nothing of the batch is in the log.
    NotWritten(LogError),
    /// What the disk holds is not known.
    Unknown(LogError),
}

fn refuse(batch: Vec<Proposal>, error: &LogError) {
    let answer = if error.is_full() {
        ProposeError::DiskFull(error.to_string())
    } else {
        ProposeError::LogFailed(error.to_string())
    };
    for proposal in batch {
        // A proposer that has gone away needs no answer.
        let _ = proposal.reply.send(Err(answer.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::record::Revision;
    use std::sync::mpsc;

    #[test]
    fn a_state_that_takes_no_more_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open::<LogError>(folder.path(), 0, |_, _| Ok(())).unwrap();
        let (queue, proposals) = mpsc::channel();
        let (batches, applier) = mpsc::sync_channel(1);
        let (_, forget) = mpsc::channel();
        let gauge = Arc::new(Gauge::default());
        let options = SingleOptions::default();
        let journal = Journal { log, proposals, batches, forget, gauge: gauge.clone(), options };
        drop(applier);
        let (reply, _answer) = tokio::sync::oneshot::channel();
        let place = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
        let command = Command::Compact(Revision(0));
        let proposal = Proposal { payload: vec![0], command, urgency: Urgency::Now, reply, _place: place };
        assert!(queue.send(proposal).is_ok());
        journal.run();
        assert!(gauge.read().failed);
    }
}
