//! A member's folder: opening it, taking over a store of one member, restoring and recovering.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::vote::RaftLeaderId as _;

use super::declared::{LeaderId, LogId, Membership, Peer, StoredMembership, Vote};
use super::machine::{log_id, place};
use super::member_file::{MemberFile, Promise};
use super::snapshot::{open_file, write_file};
use super::{RECEIVING, journal, raft_failed};
use crate::OpenError;
use crate::command::Command;
use crate::log::Log;
use crate::record::Revision;
use crate::single;
use crate::state::{Header, LoadError, Part, Place, Progress, State};

/// The folder of Raft's files in a store's.
pub(super) const RAFT: &str = "raft";
const MEMBER: &str = "member";
const LOG: &str = "log";
const STATE: &str = "state.redb";
const ADDRESS: &str = "address";
/// What a restore adds to the revision: no client can have seen one that far ahead.
const REVISION_STEP: u64 = 1_000_000;
/// Entries replayed in one commit.
const REPLAY_ENTRIES: usize = 1024;

/// An opened folder.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) state: Arc<State>,
    pub(super) log: Log,
    pub(super) file: MemberFile,
    pub(super) last: Option<LogId>,
    pub(super) committed: u64,
}

/// What a recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// This member's number.
    pub id: u64,
    /// The members that are not of the new cluster.
    pub left: Vec<(u64, Peer)>,
    /// Entries of the log that this member did not know to be committed; they are part of the new cluster.
    pub unsure: u64,
    /// The revision of the latest write that is kept.
    pub revision: Revision,
}

/// Whether a store's folder is one of a cluster's member.
pub fn is_member(folder: &Path) -> bool {
    folder.join(RAFT).join(MEMBER).exists()
}

/// Where the member whose folder this is listens for others.
pub fn address(folder: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(folder.join(RAFT).join(ADDRESS)).map(|address| address.trim().to_owned())
}

/// Opens a member's folder; makes it one where it is not.
pub(super) fn open(folder: &Path, peer: &Peer, join: bool) -> Result<Opened, OpenError> {
    let lock = single::lock(folder)?;
    let raft = folder.join(RAFT);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Folder { path, source }
    };
    std::fs::create_dir_all(&raft).map_err(io(&raft))?;
    drop_leftovers(&raft).map_err(io(&raft))?;
    // For the command line; members know it from the membership.
    std::fs::write(raft.join(ADDRESS), &peer.address).map_err(io(&raft))?;
    let path = raft.join(MEMBER);
    let state = Arc::new(State::open(&folder.join(STATE))?);
    let file = match MemberFile::open(&path).map_err(io(&path))? {
        Some(file) => file,
        None if join => {
            if state.applied() > 0 {
                let reason = "it holds a store of its own; a member that joins begins with an empty folder";
                return Err(raft_failed(folder, reason));
            }
            let promise = Promise { member: number(), cluster: 0, vote: None, purged: None };
            MemberFile::create(&path, promise).map_err(io(&path))?
        }
        None => adopt(folder, &state, peer)?,
    };
    let (applied, _) = state.place().map_err(|error| raft_failed(folder, &error.to_string()))?;
    let failed = |reason: String| raft_failed(folder, &reason);
    let (log, last, committed) =
        journal::recover(&raft.join(LOG), log_id(applied), |_| Ok(())).map_err(failed)?;
    Ok(Opened { lock, state, log, file, last, committed })
}

/// Makes a store of one member, or an empty one, the first member of a cluster.
fn adopt(folder: &Path, state: &State, peer: &Peer) -> Result<MemberFile, OpenError> {
    let old = folder.join(LOG);
    if old.exists() {
        // What the state does not have yet is in the old log.
        drop(single::replay(folder, state)?);
    }
    let file = found(folder, state, number(), peer)?;
    if old.exists() {
        std::fs::remove_dir_all(&old).map_err(|source| OpenError::Folder { path: old, source })?;
    }
    Ok(file)
}

/// Begins a cluster of one from what the state holds.
fn found(folder: &Path, state: &State, id: u64, peer: &Peer) -> Result<MemberFile, OpenError> {
    let failed = |reason: String| raft_failed(folder, &reason);
    let (before, _) = state.place().map_err(|error| failed(error.to_string()))?;
    let term = before.term + 1;
    let at = Place { index: before.index, term, leader: id };
    let log_id = LogId { leader_id: LeaderId::new(term, id), index: at.index };
    let membership = Membership::new(vec![[id].into()], BTreeMap::from([(id, peer.clone())]))
        .map_err(|error| failed(error.to_string()))?;
    let membership = StoredMembership::new(Some(log_id), membership);
    let membership = postcard::to_stdvec(&membership).map_err(|error| failed(error.to_string()))?;
    state.join_log(at, &membership)?;
    let log = folder.join(RAFT).join(LOG);
    if log.exists() {
        std::fs::remove_dir_all(&log).map_err(|source| OpenError::Folder { path: log, source })?;
    }
    let path = folder.join(RAFT).join(MEMBER);
    let vote = Vote { leader_id: LeaderId::new(term, id), committed: true };
    let promise = Promise { member: id, cluster: number(), vote: Some(vote), purged: Some(log_id) };
    MemberFile::create(&path, promise).map_err(|source| OpenError::Folder { path, source })
}

/// Makes the member in `folder`, which must not run, a cluster of its own with all that it has.
pub fn recover(folder: &Path, peer: &Peer) -> Result<Recovered, OpenError> {
    let _lock = single::lock(folder)?;
    let failed = |reason: String| raft_failed(folder, &reason);
    let path = folder.join(RAFT).join(MEMBER);
    let io = |source| OpenError::Folder { path: path.clone(), source };
    let Some(file) = MemberFile::open(&path).map_err(io)? else {
        return Err(failed("it is not a member of a cluster, so it has lost nobody".into()));
    };
    let id = file.promise().member;
    let state = State::open(&folder.join(STATE))?;
    let (applied, membership) = state.place().map_err(|error| failed(error.to_string()))?;
    let mut members = match membership {
        Some(bytes) => postcard::from_bytes::<StoredMembership>(&bytes)
            .map_err(|error| failed(error.to_string()))?
            .membership()
            .clone(),
        None => {
            return Err(failed("this member never heard of its cluster: it has nothing to recover".into()));
        }
    };
    let mut waiting: Vec<(u64, Command)> = Vec::new();
    let mut last = applied;
    let apply = |waiting: &mut Vec<(u64, Command)>, at: Place| {
        let progress = Progress { place: Some(at), membership: None };
        let applied = state.apply_at(waiting, &progress).map(drop);
        waiting.clear();
        applied.map_err(|error| error.to_string())
    };
    let (log, _, committed) = journal::recover(&folder.join(RAFT).join(LOG), log_id(applied), |entry| {
        last = place(&entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(newer) => members = newer,
            EntryPayload::Normal(payload) => {
                let command = postcard::from_bytes(&payload.0).map_err(|error| error.to_string())?;
                waiting.push((last.index, command));
            }
        }
        if waiting.len() >= REPLAY_ENTRIES { apply(&mut waiting, last) } else { Ok(()) }
    })
    .map_err(failed)?;
    if last.index > applied.index {
        apply(&mut waiting, last).map_err(failed)?;
    }
    state.flush()?;
    drop(log);
    found(folder, &state, id, peer)?;
    let left =
        members.nodes().filter(|(other, _)| **other != id).map(|(id, peer)| (*id, peer.clone())).collect();
    Ok(Recovered { id, left, unsure: last.index.saturating_sub(committed), revision: state.revision() })
}

/// Makes a store from a snapshot file. The folder must hold none. The revision is moved on, and everything before it is
/// compacted: clients that saw later ones are told to begin anew.
pub fn restore(folder: &Path, snapshot: &Path) -> Result<Revision, OpenError> {
    let _lock = single::lock(folder)?;
    let refused = |reason: &str| raft_failed(folder, reason);
    if folder.join(STATE).exists() || folder.join(RAFT).exists() || folder.join(LOG).exists() {
        return Err(refused("it holds a store already; restore into an empty folder"));
    }
    let mut decoder = open_file(snapshot).map_err(|reason| refused(&reason))?;
    let revision = Revision(decoder.header().revision.0 + REVISION_STEP);
    let header = Header { revision, compacted: revision, place: Place::default(), membership: None };
    let unfinished = folder.join("restoring.redb");
    let remove = || match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenError::Folder { path: unfinished.clone(), source: error })
        }
        _ => Ok(()),
    };
    remove()?;
    let state = State::open(&unfinished)?;
    let loaded = state.load(&header, || {
        loop {
            match decoder.part()? {
                // The history is before the revision that is compacted.
                Some(Part::History(_)) => {}
                None => return decoder.finish().map(|()| None),
                part => return Ok(part),
            }
        }
    });
    drop(state);
    match loaded {
        Ok(()) => {
            let path = folder.join(STATE);
            std::fs::rename(&unfinished, &path).map_err(|source| OpenError::Folder { path, source })?;
            Ok(revision)
        }
        Err(error) => {
            remove()?;
            match error {
                LoadError::State(error) => Err(error.into()),
                LoadError::Source(reason) => Err(refused(&format!("{}: {reason}", snapshot.display()))),
            }
        }
    }
}

/// Writes a snapshot of a running store to a new file. Gives the revision and the bytes.
pub fn save_snapshot(state: &State, path: &Path) -> Result<(Revision, u64), OpenError> {
    let io = |source| OpenError::Folder { path: path.to_owned(), source };
    let dump = state.dump()?;
    let revision = dump.header().revision;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    let size = write_file(Box::new(dump), file.as_file()).map_err(io)?;
    file.persist_noclobber(path).map_err(|error| io(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok((revision, size))
}

/// Reads a snapshot through, and says whether it is whole.
pub fn check_snapshot(path: &Path) -> Result<Revision, String> {
    let mut decoder = open_file(path)?;
    while decoder.part()?.is_some() {}
    decoder.finish()?;
    Ok(decoder.header().revision)
}

/// [`save_snapshot`] for a store that does not run, of one member or a cluster's.
pub fn save_stopped(folder: &Path, path: &Path) -> Result<(Revision, u64), OpenError> {
    let _lock = single::lock(folder)?;
    let failed = |reason: String| raft_failed(folder, &reason);
    if !folder.join(STATE).exists() {
        return Err(failed("it holds no store".into()));
    }
    let state = State::open(&folder.join(STATE))?;
    if !is_member(folder) {
        drop(single::replay(folder, &state)?);
        return save_snapshot(&state, path);
    }
    let (applied, _) = state.place().map_err(|error| failed(error.to_string()))?;
    let mut committed = Vec::new();
    let log = folder.join(RAFT).join(LOG);
    let (_, _, sure) = journal::recover(&log, log_id(applied), |entry| {
        committed.push(entry);
        Ok(())
    })
    .map_err(failed)?;
    for entry in committed.into_iter().filter(|entry| entry.log_id.index <= sure) {
        let progress = Progress { place: Some(place(&entry.log_id)), membership: None };
        let mut command = Vec::new();
        if let EntryPayload::Normal(payload) = entry.payload {
            let decoded = postcard::from_bytes(&payload.0).map_err(|error| failed(error.to_string()))?;
            command.push((entry.log_id.index, decoded));
        }
        state.apply_at(&command, &progress)?;
    }
    save_snapshot(&state, path)
}

/// A number that no other member or cluster has.
fn number() -> u64 {
    let mut bytes = [0; 8];
    // The system's generator fails only before the machine has any entropy, long before this runs.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes).max(1)
}

/// Removes what a crash left of snapshots on their way.
fn drop_leftovers(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RECEIVING)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}
