//! The latest changes of one kind, in order, bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use store::Revision;

use crate::object::Object;

/// Changes kept per kind, at most and whatever their size.
const MOST_CHANGES: usize = 8192;
/// Bytes of the objects in them, beyond which the oldest go.
const MOST_BYTES: usize = 16 << 20;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It came into being.
    Added,
    /// It is another now.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change.
#[derive(Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change; a deleted one as it was, with the revision of its deletion.
    pub object: Arc<Object>,
    /// The object before the change, for watches whose selector it matched.
    pub previous: Option<Arc<Object>>,
}

/// A bounded queue of changes.
#[derive(Debug)]
pub(super) struct Changes {
    queue: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Changes up to and including this revision are not in the queue.
    gone: Revision,
}

impl Changes {
    pub(super) fn after(revision: Revision) -> Changes {
        Changes { queue: VecDeque::new(), bytes: 0, gone: revision }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.bytes += change.object.json.len();
        self.queue.push_back(Arc::new(change));
        while self.queue.len() > MOST_CHANGES || (self.bytes > MOST_BYTES && self.queue.len() > 1) {
            let Some(oldest) = self.queue.pop_front() else { break };
            self.bytes -= oldest.object.json.len();
            self.gone = oldest.object.revision;
        }
    }

    /// Changes after a revision, up to `limit` and then to the end of a revision; `Err` where some are gone.
    pub(super) fn since(&self, after: Revision, limit: usize) -> Result<Vec<Arc<Change>>, Revision> {
        if after < self.gone {
            return Err(self.gone);
        }
        let begin = self.queue.partition_point(|change| change.object.revision <= after);
        let mut end = (begin + limit).min(self.queue.len());
        while end > begin
            && end < self.queue.len()
            && self.queue[end].object.revision == self.queue[end - 1].object.revision
        {
            end += 1;
        }
        Ok(self.queue.range(begin..end).cloned().collect())
    }
}
