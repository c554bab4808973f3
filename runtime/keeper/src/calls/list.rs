//! List: a page of what the keeper holds, with every descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use keeper_api::{Body, Entry, MAX_DESCRIPTORS, ProcessId, Stage as Told};

use crate::clients::ClientNumber;
use crate::processes::{Process, Stage};
use crate::server::Keeper;

/// Processes on a page: each has at most a pidfd, a terminal and one descriptor of each kind of stream.
const PAGE: usize = MAX_DESCRIPTORS / 7;

/// Sends the page after a name.
pub fn answer(keeper: &mut Keeper, client: ClientNumber, serial: u64, after: Option<ProcessId>) {
    let Keeper { processes, clients, poll, .. } = keeper;
    let mut entries = Vec::new();
    let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
    let mut more = false;
    for (id, process) in processes.after(after.as_ref()) {
        if entries.len() == PAGE {
            more = true;
            break;
        }
        if let Some(entry) = entry(id, process) {
            entries.push(entry);
            descriptors.push(process.pidfd.as_fd());
            descriptors.extend(process.pty.as_ref().map(AsFd::as_fd));
            descriptors.extend(process.held.iter().map(|(_, held)| held.as_fd()));
        }
    }
    if clients.send(client, serial, Body::Listing { entries, more }, &descriptors, poll).is_err() {
        keeper.cut_off(client);
    }
}

/// How a process is told of; a launch that fails is told of by its failure only.
fn entry(id: &ProcessId, process: &Process) -> Option<Entry> {
    let stage = match process.stage {
        Stage::Launching(_) => Told::Launching,
        Stage::Failing { .. } => return None,
        Stage::Running => Told::Running,
        Stage::Ended(exit) => Told::Ended(exit),
    };
    Some(Entry {
        id: id.clone(),
        pid: process.pid,
        started_at_nanoseconds: process.started_at_nanoseconds,
        stage,
        pty: process.pty.is_some(),
        held: process.held.iter().map(|(stream, _)| *stream).collect(),
        tied: process.tied.is_some(),
    })
}
