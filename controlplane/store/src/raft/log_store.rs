//! The log as openraft sees it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, RaftLogReader};
use tokio::sync::oneshot;

use super::declared::{Entry, LogId, TypeConfig, Vote};
use super::journal::{Order, Shared};
use super::member_file::Promise;

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES: usize = 2 << 20;

/// A handle on the log; its reader is another handle.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

impl LogStore {
    pub(super) fn new(shared: Arc<Shared>, orders: mpsc::Sender<Order>) -> LogStore {
        LogStore { shared, orders }
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Order) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn closed() -> io::Error {
    io::Error::other("the store's log is closed")
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let begin = match range.start_bound() {
        Bound::Included(begin) => *begin,
        Bound::Excluded(begin) => begin + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (begin, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (begin, end) = bounds(&range);
        let found = self.shared.read(begin, end, usize::MAX)?;
        // Who applies them must not pass over one.
        let last = self.shared.cache().last().map_or(0, |last| last.index);
        let wanted = end.min(last + 1).saturating_sub(begin);
        if (found.len() as u64) < wanted {
            return Err(io::Error::other(format!(
                "of the log's entries {begin}..{end} only {} are there",
                found.len()
            )));
        }
        Ok(found)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.shared.read(start, end, MESSAGE_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.file().promise().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.shared.file().promise().purged;
        let last_log_id = self.shared.cache().last().max(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        // Two sectors and a sync; not behind appends that may wait for a full disk.
        tokio::task::block_in_place(|| {
            let mut file = self.shared.file();
            let promise = Promise { vote: Some(*vote), ..file.promise() };
            file.write(promise)
        })
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Written with the next record.
        if let Some(committed) = committed {
            self.shared.committed.fetch_max(committed.index, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let index = self.shared.committed.load(Ordering::Acquire);
        let found = self.shared.read(index, index + 1, usize::MAX)?.first().map(|entry| entry.log_id);
        let purged = self.shared.file().promise().purged;
        Ok(found.or(purged.filter(|purged| purged.index >= index)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut cache = self.shared.cache();
            entries.iter().for_each(|entry| cache.push(entry.clone()));
        }
        self.orders.send(Order::Append(entries, callback)).map_err(|_| closed())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.shared.cache().truncate(last_log_id);
        let index = last_log_id.map_or(0, |last| last.index);
        self.order(|done| Order::Truncate(index, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.order(|done| Order::Purge(log_id, done)).await
    }
}
