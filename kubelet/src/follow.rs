//! What the runtime tells: which pods to look at again.
//!
//! Follows GetContainerEvents. Only where the runtime does not serve it (containerd 1.6) it lists on a timer and
//! compares. A stream that begins anew may have missed something, so everybody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::Backoff;
use cri_api::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::labels;
use crate::pod::PodUid;
use crate::runtime::Runtime;

/// Between lists of a runtime without events.
const RELIST: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// Who has to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Pod(PodUid),
    /// Something may have been missed, or cannot be told apart.
    Everybody,
}

/// Follows until `stopping`.
pub async fn follow(
    runtime: Runtime,
    tell: mpsc::Sender<Told>,
    random: fn(u64) -> u64,
    stopping: CancellationToken,
) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let followed = tokio::select! {
            () = stopping.cancelled() => return,
            followed = once(&runtime, &tell, &mut backoff) => followed,
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "following the runtime is interrupted");
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(backoff.next(random)) => {}
        }
    }
}

async fn once(runtime: &Runtime, tell: &mpsc::Sender<Told>, backoff: &mut Backoff) -> Result<(), Status> {
    let request = v1::GetEventsRequest {};
    let mut stream = match runtime.service().get_container_events(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => return relist(runtime, tell, backoff).await,
        Err(status) => return Err(status),
    };
    let _ = tell.send(Told::Everybody).await;
    loop {
        match stream.message().await {
            Ok(Some(event)) => {
                backoff.reset();
                let _ = tell.send(about(&event)).await;
            }
            Ok(None) => return Ok(()),
            // containerd says so only when the stream is read.
            Err(status) if status.code() == Code::Unimplemented => {
                return relist(runtime, tell, backoff).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn about(event: &v1::ContainerEventResponse) -> Told {
    let sandbox = event.pod_sandbox_status.as_ref().and_then(|status| status.metadata.as_ref());
    let container = || event.containers_statuses.iter().find_map(|status| status.labels.get(labels::POD_UID));
    match sandbox.map(|metadata| &metadata.uid).or_else(container) {
        Some(uid) if !uid.is_empty() => Told::Pod(PodUid::new(uid.as_str())),
        _ => Told::Everybody,
    }
}

type Snapshot = BTreeMap<String, BTreeSet<(String, i32)>>;

/// Lists and compares until the runtime does not answer.
async fn relist(runtime: &Runtime, tell: &mpsc::Sender<Told>, backoff: &mut Backoff) -> Result<(), Status> {
    tracing::info!("the runtime tells no events: listing every {} s", RELIST.as_secs());
    let mut before = Snapshot::new();
    let _ = tell.send(Told::Everybody).await;
    loop {
        let now = snapshot(runtime).await?;
        backoff.reset();
        let changed = now.keys().chain(before.keys()).filter(|uid| now.get(*uid) != before.get(*uid));
        for uid in changed.collect::<BTreeSet<_>>() {
            let _ = tell.send(Told::Pod(PodUid::new(uid.as_str()))).await;
        }
        before = now;
        tokio::time::sleep(RELIST).await;
    }
}

async fn snapshot(runtime: &Runtime) -> Result<Snapshot, Status> {
    let mut snapshot = Snapshot::new();
    let mut add = |labels: &BTreeMap<String, String>, id: String, state: i32| {
        if let Some(uid) = labels.get(labels::POD_UID) {
            snapshot.entry(uid.clone()).or_default().insert((id, state));
        }
    };
    let sandboxes = runtime.service().list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?;
    for sandbox in sandboxes.into_inner().items {
        add(&sandbox.labels, sandbox.id, sandbox.state);
    }
    let containers = runtime.service().list_containers(v1::ListContainersRequest::default()).await?;
    for container in containers.into_inner().containers {
        add(&container.labels, container.id, container.state);
    }
    Ok(snapshot)
}
