//! After a start: what is on disk and what the keeper holds become sandboxes and containers again.
//!
//! | record says | the keeper says | becomes |
//! |---|---|---|
//! | Making | anything | taken back |
//! | Created | no process | Created |
//! | Created | a process | Running: the start was complete but for its record |
//! | Running | a process, or how it ended | Running; its owner then sees the end, if there was one |
//! | Running | nothing | Running with an unknown end, which its owner sees at once |
//! | Exited | | Exited |
//! | unreadable | | taken back, as far as its id tells what it had |
//! | none | an exec or an orphan | killed and forgotten |
//! | none | (pins or files of a sandbox) | removed |
//!
//! A sandbox whose pins are gone (the host was rebooted) is not ready any more.

use std::collections::HashMap;
use std::sync::Arc;

use crate::container::start::{io_options, process_id};
use crate::container::{self, Adopted, ContainerRecord, create, signal};
use crate::fault::{Doing as _, Outcome};
use crate::id::{ContainerId, SandboxId};
use crate::index::Found;
use crate::io::ContainerIo;
use crate::node::Node;
use crate::process::{Held, ProcessId};
use crate::record::{Durability, RecordError};
use crate::sandbox::execute::blocking;
use crate::sandbox::plan::{Lasts, plan};
use crate::sandbox::{self, SandboxRecord, files, init};

/// Adopts everything. Failures of single objects are logged; only what concerns all is returned.
pub async fn adopt(node: &Arc<Node>) -> Outcome<()> {
    let mut held: HashMap<ProcessId, Held> =
        node.processes.list().await.into_iter().map(|process| (process.id.clone(), process)).collect();
    for id in ids(node, true).await? {
        if let Err(error) = adopt_sandbox(node, &id, &mut held).await {
            tracing::error!(sandbox = %id, %error, "adopting a sandbox");
        }
    }
    for id in ids(node, false).await? {
        if let Err(error) = adopt_container(node, &id, &mut held).await {
            tracing::error!(container = %id, %error, "adopting a container");
        }
    }
    remove_orphaned_sandboxes(node).await?;
    for orphan in held.into_values() {
        end_orphan(node, orphan).await;
    }
    drop_orphaned_snapshots(node).await;
    Ok(())
}

async fn ids(node: &Node, sandboxes: bool) -> Outcome<Vec<String>> {
    let records = if sandboxes { node.sandbox_records.clone() } else { node.container_records.clone() };
    blocking(move || records.ids().doing(|| "listing the records".into())).await
}

async fn adopt_sandbox(node: &Arc<Node>, id: &str, held: &mut HashMap<ProcessId, Held>) -> Outcome<()> {
    let (records, name) = (node.sandbox_records.clone(), id.to_owned());
    let loaded = blocking(move || Ok(records.load::<SandboxRecord>(&name))).await?;
    let Some(mut record) = usable(loaded, id)? else {
        return remove_unreadable_sandbox(node, id).await;
    };
    if record.phase == sandbox::Phase::Making {
        return take_back_sandbox(node, &record).await;
    }
    let pins = [&record.net, &record.ipc, &record.uts, &record.user];
    let pinned = pins.into_iter().flatten().all(|path| sys::netns::is_pinned(path));
    if record.phase == sandbox::Phase::Ready && !pinned {
        record.phase = sandbox::Phase::NotReady;
    }
    let init = init::process_id(&record)?;
    let init = held.remove(&init).map(|process| (init, process.pid));
    node.sandbox_names.reserve("sandbox", &record.name, id)?;
    sandbox::own(node, record, init);
    Ok(())
}

async fn take_back_sandbox(node: &Node, record: &SandboxRecord) -> Outcome<()> {
    let steps = plan(record, &node.paths, &files::HostFiles::default());
    node.sandbox_executor().undo(record, &steps, Lasts::WhileKnown).await?;
    let (records, id) = (node.sandbox_records.clone(), record.id.clone());
    blocking(move || records.remove(id.as_str()).doing(|| "removing a sandbox's record".into())).await
}

/// What a sandbox has lies below its id, whatever its record said.
async fn remove_unreadable_sandbox(node: &Node, id: &str) -> Outcome<()> {
    let Some(id) = SandboxId::parse(id) else { return Ok(()) };
    let (pins, folder, records) = (node.paths.pins(&id), node.paths.files(&id), node.sandbox_records.clone());
    blocking(move || {
        for name in ["net", "ipc", "uts", "user"] {
            sys::netns::delete(&pins.join(name)).doing(|| "unpinning a namespace".into())?;
        }
        let _ = std::fs::remove_dir(&pins);
        sandbox::execute::unmount(&folder.join(files::SHM)).doing(|| "unmounting shared memory".into())?;
        let _ = std::fs::remove_dir_all(&folder);
        records.remove(id.as_str()).doing(|| "removing an unreadable record".into())
    })
    .await
}

/// Pins and files of sandboxes that no record knows: the state outlived the root, or a removal was cut short.
async fn remove_orphaned_sandboxes(node: &Arc<Node>) -> Outcome<()> {
    let folders = [node.paths.namespaces(), node.paths.pod_files()];
    let found = blocking(move || {
        let mut names = std::collections::BTreeSet::new();
        for folder in folders {
            let entries = std::fs::read_dir(&folder).doing(|| format!("listing {}", folder.display()))?;
            names.extend(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()));
        }
        Ok(names)
    })
    .await?;
    for id in found.iter().filter(|id| matches!(node.sandboxes.find(id), Found::None)) {
        tracing::info!(sandbox = %id, "removing what is left of a sandbox that no record knows");
        if let Err(error) = remove_unreadable_sandbox(node, id).await {
            tracing::warn!(sandbox = %id, %error, "removing what is left of a sandbox");
        }
    }
    Ok(())
}

async fn adopt_container(node: &Arc<Node>, id: &str, held: &mut HashMap<ProcessId, Held>) -> Outcome<()> {
    let Some(parsed) = ContainerId::parse(id) else { return Ok(()) };
    let (records, name) = (node.container_records.clone(), id.to_owned());
    let loaded = blocking(move || Ok(records.load::<ContainerRecord>(&name))).await?;
    let Some(mut record) = usable(loaded, id)? else {
        return create::take_back(node, &parsed).await;
    };
    if record.phase == container::Phase::Making {
        return create::take_back(node, &parsed).await;
    }
    let process = held.remove(&process_id(&record)?);
    if let (container::Phase::Created, Some(process)) = (record.phase, &process) {
        record.phase = container::Phase::Running;
        record.pid = process.pid;
        record.started_at = process.started_at_nanoseconds.try_into().unwrap_or(i64::MAX);
        create::save(node, &record, Durability::Process).await?;
    }
    node.container_names.reserve("container", &record.name, id)?;
    let adopted = if record.phase == container::Phase::Running {
        let pty = node.processes.pty(&process_id(&record)?).await;
        match ContainerIo::reopen(&node.streams, io_options(node, &record)?, pty).await {
            Ok(io) => Adopted::Running(io),
            Err(error) => {
                tracing::warn!(container = %id, %error, "its streams are gone; it runs on without a log");
                Adopted::No
            }
        }
    } else {
        Adopted::No
    };
    container::own(node, record, adopted);
    Ok(())
}

/// A damaged record is reported and counts as none; one from a newer version stops us: it is not ours to remove.
fn usable<T>(loaded: Result<T, RecordError>, id: &str) -> Outcome<Option<T>> {
    match loaded {
        Ok(record) => Ok(Some(record)),
        Err(newer @ RecordError::Newer { .. }) => Err(newer).doing(|| format!("reading the record of {id}")),
        Err(error) => {
            tracing::warn!(%id, error = %error, "its record cannot be used; what it describes is taken back");
            Ok(None)
        }
    }
}

/// Execs of the last daemon, and processes whose container is gone.
async fn end_orphan(node: &Node, process: Held) {
    if process.exit.is_none() {
        tracing::info!(process = %process.id, pid = process.pid, "ending a process that belongs to nothing");
        if let Err(error) = node.processes.signal(&process.id, signal::KILL).await {
            tracing::warn!(process = %process.id, %error, "ending a process that belongs to nothing");
            return;
        }
        node.processes.exited(&process.id).await;
    }
    node.processes.forget(&process.id).await;
}

/// Directories of containers that nobody knows.
async fn drop_orphaned_snapshots(node: &Node) {
    for name in node.images.snapshots() {
        if matches!(node.containers.find(&name), Found::None)
            && let Err(error) = node.images.drop_snapshot(&name).await
        {
            tracing::warn!(container = %name, %error, "removing the root of a container that is gone");
        }
    }
}
