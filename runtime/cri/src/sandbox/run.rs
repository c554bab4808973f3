//! RunPodSandbox: from a request to a sandbox that is ready.

use std::path::PathBuf;
use std::sync::Arc;

use cri_api::v1;
use cri_api::v1::NamespaceMode;

use super::execute::{Before, blocking};
use super::plan::plan;
use super::{Phase, SandboxRecord, files, validate};
use crate::fault::{Doing as _, Outcome};
use crate::id::SandboxId;
use crate::node::Node;
use crate::record::Durability;
use crate::{clock, name};

/// Makes a sandbox, or leaves nothing.
pub async fn run(
    node: &Arc<Node>,
    config: v1::PodSandboxConfig,
    handler: String,
    before: Before<'_>,
) -> Outcome<SandboxId> {
    validate::config(&config, &handler)?;
    let mut record = desired(node, config, handler).await?;
    let id = record.id.clone();
    node.sandbox_names.reserve("sandbox", &record.name, id.as_str())?;
    match make(node, &mut record, before).await {
        Ok(()) => {
            let sandbox = super::own(node, record, None);
            node.announce_sandbox(&sandbox, v1::ContainerEventType::ContainerCreatedEvent);
            node.announce_sandbox(&sandbox, v1::ContainerEventType::ContainerStartedEvent);
            Ok(id)
        }
        Err(fault) => {
            node.sandbox_names.release(&record.name, id.as_str());
            Err(fault)
        }
    }
}

/// The record before the first step, which says all that will exist.
async fn desired(node: &Node, config: v1::PodSandboxConfig, handler: String) -> Outcome<SandboxRecord> {
    let metadata = config.metadata.clone().unwrap_or_default();
    let id = SandboxId::random().doing(|| "making an id".into())?;
    let linux = config.linux.clone().unwrap_or_default();
    let options = linux.security_context.and_then(|context| context.namespace_options).unwrap_or_default();
    let pins = node.paths.pins(&id);
    let own = |mode: NamespaceMode, name: &str| (mode == NamespaceMode::Pod).then(|| pins.join(name));
    let net: Option<PathBuf> = own(options.network(), "net");
    // A pod in the host's network has the host's name.
    let hostname = if net.is_some() { hostname(&config, &id) } else { host_name() };
    let parent = linux.cgroup_parent.trim_end_matches('/').to_owned();
    let parent = if parent.is_empty() {
        format!("{}/pod{id}", node.options.cgroup_root.trim_end_matches('/'))
    } else {
        format!("/{}", parent.trim_start_matches('/'))
    };
    let user = super::user::wanted(&options)?.then(|| pins.join("user"));
    if let (Some(_), Err(obstacle)) = (&user, node.host.user_namespaces) {
        return Err(obstacle.fault());
    }
    let (layout, path) = (node.layout.clone(), parent.clone());
    let missing = blocking(move || Ok(sys::cgroup::Cgroup::open(&layout, &path).is_err())).await?;
    Ok(SandboxRecord {
        name: name::of_sandbox(&metadata),
        phase: Phase::Making,
        created_at: clock::now(),
        handler,
        hostname,
        uts: net.as_ref().map(|_| pins.join("uts")),
        ipc: own(options.ipc(), "ipc"),
        net,
        user,
        cgroup_parent: parent,
        made_cgroup_parent: missing,
        attached: None,
        config,
        id,
    })
}

fn hostname(config: &v1::PodSandboxConfig, id: &SandboxId) -> String {
    if config.hostname.is_empty() { id.as_str().chars().take(12).collect() } else { config.hostname.clone() }
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

async fn make(node: &Arc<Node>, record: &mut SandboxRecord, before: Before<'_>) -> Outcome<()> {
    save(node, record).await?;
    let host = blocking(|| Ok(files::HostFiles::read())).await?;
    let steps = plan(record, &node.paths, &host);
    let made = node.sandbox_executor().make(record, &steps, before).await;
    let finished = match made {
        Ok(attached) => {
            record.attached = attached;
            record.phase = Phase::Ready;
            save(node, record).await
        }
        Err(fault) => Err(fault),
    };
    if finished.is_err() {
        let (records, id) = (node.sandbox_records.clone(), record.id.clone());
        blocking(move || records.remove(id.as_str()).doing(|| "removing a sandbox's record".into())).await?;
    }
    finished
}

async fn save(node: &Node, record: &SandboxRecord) -> Outcome<()> {
    let (records, copy) = (node.sandbox_records.clone(), record.clone());
    blocking(move || {
        records.save(copy.id.as_str(), &copy, Durability::Process).doing(|| "checkpointing a sandbox".into())
    })
    .await
}
