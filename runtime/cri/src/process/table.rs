//! The table: what the daemon holds of each process.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use keeper_api::{Adopt, Call, Entry, Exit, ProcessId, Stage, Status, Stream};
use tokio::sync::{mpsc, watch};

use super::Held;
use super::owner::Command;
use super::record::{Record, Records};
use super::watch::until_ended;

/// One process.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// `None` of one that was gone when this process started.
    pub pidfd: Option<Arc<OwnedFd>>,
    pub started_at_nanoseconds: u64,
    pub pty: Option<Arc<OwnedFd>>,
    pub held: Vec<(Stream, Arc<OwnedFd>)>,
    pub tied: bool,
    /// Dropped from the table as soon as it ends.
    pub forgotten: bool,
    /// Told when it ends.
    pub exit: watch::Sender<Option<Exit>>,
    watcher: Option<tokio::task::AbortHandle>,
}

/// All of them.
#[derive(Debug)]
pub struct Table {
    processes: BTreeMap<ProcessId, Process>,
    records: Records,
    owner: mpsc::WeakSender<Command>,
}

impl Process {
    /// A process that is not yet watched.
    pub fn new(pid: i32, pidfd: Option<OwnedFd>, started_at_nanoseconds: u64, tied: bool) -> Process {
        Process {
            pid,
            pidfd: pidfd.map(Arc::new),
            started_at_nanoseconds,
            pty: None,
            held: Vec::new(),
            tied,
            forgotten: false,
            exit: watch::Sender::new(None),
            watcher: None,
        }
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// The call that hands it to a keeper, with its descriptors.
    pub fn adoption(&self, id: &ProcessId) -> (Call, Vec<Arc<OwnedFd>>) {
        let adopt = Adopt {
            id: id.clone(),
            pid: self.pid,
            started_at_nanoseconds: self.started_at_nanoseconds,
            pty: self.pty.is_some(),
            held: self.held.iter().map(|(stream, _)| *stream).collect(),
            tied: self.tied,
        };
        let mut fds: Vec<Arc<OwnedFd>> = self.pidfd.iter().chain(&self.pty).cloned().collect();
        fds.extend(self.held.iter().map(|(_, held)| Arc::clone(held)));
        (Call::Adopt(adopt), fds)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

impl Table {
    /// An empty table.
    pub fn new(records: Records, owner: mpsc::WeakSender<Command>) -> Table {
        Table { processes: BTreeMap::new(), records, owner }
    }

    /// Finds a process.
    pub fn get(&self, id: &ProcessId) -> Option<&Process> {
        self.processes.get(id)
    }

    /// Finds a process to change it.
    pub fn get_mut(&mut self, id: &ProcessId) -> Option<&mut Process> {
        self.processes.get_mut(id)
    }

    /// Takes a process in whose record is on disk, or goes there now. On an error it is not taken in.
    pub fn insert(&mut self, id: ProcessId, process: Process) -> std::io::Result<()> {
        if let Some(pidfd) = process.pidfd.as_ref().filter(|_| process.ended().is_none()) {
            let identity = sys::exit::identity(pidfd.as_fd(), process.pid)?;
            // One that is gone already needs no record to be found by.
            if let Some(identity) = identity {
                let record = Record::new(process.pid, identity, process.started_at_nanoseconds, process.tied);
                self.records.write(&id, &record)?;
            }
        }
        self.processes.insert(id, process);
        Ok(())
    }

    /// Watches a process from now on.
    pub fn watch(&mut self, id: &ProcessId) {
        let Some(process) = self.processes.get_mut(id) else { return };
        if let Some(pidfd) = process.pidfd.clone().filter(|_| process.ended().is_none())
            && process.watcher.is_none()
        {
            let watching = until_ended(id.clone(), process.pid, pidfd, self.owner.clone());
            process.watcher = Some(tokio::spawn(watching).abort_handle());
        }
    }

    /// Takes note of an end; the first one counts. Whether the process is to be forgotten now.
    pub fn ended(&mut self, id: &ProcessId, exit: Exit) -> bool {
        let Some(process) = self.processes.get_mut(id) else { return false };
        if process.ended().is_none() {
            // Whoever is told makes a record of its own last; this one is for the death of daemon and keeper before that.
            process.exit.send_replace(Some(exit));
            self.write_end(id, exit);
        }
        self.processes.get(id).is_some_and(|process| process.forgotten)
    }

    fn write_end(&self, id: &ProcessId, exit: Exit) {
        let Some(process) = self.processes.get(id) else { return };
        let identity = sys::exit::Identity { inode: 0, start_ticks: 0 };
        let mut record = Record::new(process.pid, identity, process.started_at_nanoseconds, process.tied);
        record.exit = Some(exit);
        if let Err(error) = self.records.write(id, &record) {
            tracing::warn!(%id, %error, "a process's end cannot be written down");
        }
    }

    /// Drops a process and its record.
    pub fn remove(&mut self, id: &ProcessId) {
        self.processes.remove(id);
        self.records.remove(id);
    }

    /// Everything, for whoever asks.
    pub fn list(&self) -> Vec<Held> {
        let held = |(id, process): (&ProcessId, &Process)| Held {
            id: id.clone(),
            pid: process.pid,
            started_at_nanoseconds: process.started_at_nanoseconds,
            exit: process.ended(),
            tied: process.tied,
        };
        self.processes.iter().map(held).collect()
    }

    /// Everything.
    pub fn iter(&self) -> impl Iterator<Item = (&ProcessId, &Process)> {
        self.processes.iter()
    }

    /// Takes over what a keeper holds.
    pub fn merge(&mut self, entry: Entry, descriptors: Vec<OwnedFd>) {
        let ended = match entry.stage {
            // Somebody else's launch; it ends with its asker.
            Stage::Launching => return,
            Stage::Running => None,
            Stage::Ended(exit) => Some(exit),
        };
        if self.processes.contains_key(&entry.id) {
            if let Some(exit) = ended {
                self.ended(&entry.id, exit);
            }
            return;
        }
        let mut descriptors = descriptors.into_iter();
        let Some(pidfd) = descriptors.next() else { return };
        let mut process = Process::new(entry.pid, Some(pidfd), entry.started_at_nanoseconds, entry.tied);
        process.pty = if entry.pty { descriptors.next().map(Arc::new) } else { None };
        process.held = entry.held.iter().copied().zip(descriptors.map(Arc::new)).collect();
        process.exit.send_replace(ended);
        if let Err(error) = self.insert(entry.id.clone(), process) {
            tracing::warn!(id = %entry.id, %error, "a process cannot be written down");
            return;
        }
        self.watch(&entry.id);
    }

    /// Finds processes of which only a record is left: daemon and keeper both died.
    pub fn recover(&mut self) -> std::io::Result<()> {
        for (id, record) in self.records.read()? {
            if self.processes.contains_key(&id) {
                continue;
            }
            let pidfd = find(&record)?;
            let lives = pidfd.is_some();
            let process = Process::new(record.pid, pidfd, record.started_at_nanoseconds, record.tied);
            self.processes.insert(id.clone(), process);
            if lives {
                tracing::info!(%id, pid = record.pid, "a process was found again by its record");
                self.watch(&id);
            } else {
                let unknown = Exit { status: Status::Unknown, at_nanoseconds: now_nanoseconds() };
                self.ended(&id, record.exit.unwrap_or(unknown));
            }
        }
        Ok(())
    }
}

/// The pidfd of a record's process, if that lives and is the same.
fn find(record: &Record) -> std::io::Result<Option<OwnedFd>> {
    if record.exit.is_some() {
        return Ok(None);
    }
    let Some(pidfd) = sys::exit::open(record.pid)? else { return Ok(None) };
    let same = sys::exit::identity(pidfd.as_fd(), record.pid)? == Some(record.identity());
    Ok(same.then_some(pidfd))
}

/// The clock of every time stamp here.
pub fn now_nanoseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}
