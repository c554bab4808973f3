//! Following a transfer from outside: how far each layer is, and a way to give it up.
//!
//! Rows are kept, not sent: whoever looks sees how things are now, and nobody is waited for.

use std::future::pending;

use tokio::sync::watch;

/// How far one layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub digest: String,
    /// Bytes in all, compressed; 0 while it is not known.
    pub size: u64,
    pub done: u64,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For a slot, or for another transfer of the same layer.
    Waiting,
    Running,
    /// It was there before.
    Present,
    Done,
}

/// Who follows a transfer. The default is nobody.
#[derive(Clone, Debug, Default)]
pub struct Follow {
    rows: Option<watch::Sender<Vec<Row>>>,
    stop: Option<watch::Receiver<bool>>,
}

/// Gives a transfer up when it is dropped.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

// === impl Follow ===

impl Follow {
    /// A transfer that lasts only as long as the [`Stop`]; afterwards dropping it changes nothing.
    #[must_use]
    pub fn until_dropped() -> (Follow, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Follow { rows: None, stop: Some(receiver) }, Stop(sender))
    }

    /// Shows how far the layers are.
    #[must_use]
    pub fn showing(mut self) -> (Follow, watch::Receiver<Vec<Row>>) {
        let (sender, receiver) = watch::channel(Vec::new());
        self.rows = Some(sender);
        (self, receiver)
    }

    /// Ends when the transfer is given up.
    pub async fn stopped(&self) {
        if let Some(mut stop) = self.stop.clone()
            && stop.wait_for(|stop| *stop).await.is_ok()
        {
            return;
        }
        pending().await
    }

    /// Adds rows; the first one's number.
    pub(crate) fn begin(&self, layers: impl Iterator<Item = (String, u64)>) -> usize {
        let mut first = 0;
        self.change(|rows| {
            first = rows.len();
            rows.extend(layers.map(|(digest, size)| Row { digest, size, done: 0, state: State::Waiting }));
        });
        first
    }

    pub(crate) fn state(&self, index: usize, state: State) {
        self.change(|rows| {
            if let Some(row) = rows.get_mut(index) {
                row.state = state;
                if matches!(state, State::Present | State::Done) {
                    row.done = row.size;
                }
            }
        });
    }

    pub(crate) fn size(&self, index: usize, size: u64) {
        self.change(|rows| {
            if let Some(row) = rows.get_mut(index) {
                row.size = size;
            }
        });
    }

    pub(crate) fn add(&self, index: usize, bytes: usize) {
        self.change(|rows| {
            if let Some(row) = rows.get_mut(index) {
                row.done += bytes as u64;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Row>)) {
        if let Some(rows) = &self.rows {
            rows.send_modify(change);
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_seen_and_a_dropped_stop_stops() {
        let (follow, stop) = Follow::until_dropped();
        let (follow, rows) = follow.showing();
        follow.begin([("a".to_owned(), 10), ("b".to_owned(), 5)].into_iter());
        follow.state(0, State::Running);
        follow.add(0, 4);
        follow.state(1, State::Present);
        let seen: Vec<(u64, State)> = rows.borrow().iter().map(|row| (row.done, row.state)).collect();
        assert_eq!(seen, [(4, State::Running), (5, State::Present)]);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(10), follow.stopped()).await;
        assert!(waiting.is_err(), "it goes on");
        drop(stop);
        follow.stopped().await;
        let nobody = Follow::default();
        nobody.begin([("a".to_owned(), 1)].into_iter());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), nobody.stopped()).await.is_err());
    }
}
