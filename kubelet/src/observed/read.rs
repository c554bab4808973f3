//! Reads one pod from the runtime.
//!
//! Lists by the label that carries the UID, then asks for each in full: the one way that every runtime serves. A
//! thing that vanishes between the list and the question is not there.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::path::Path;

use cri_api::v1;
use tonic::{Code, Status};

use super::{Observed, ObservedContainer, Sandbox, State};
use crate::labels;
use crate::pod::PodUid;
use crate::runtime::Runtime;

/// Bytes that a termination message may have.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Bytes and lines of a log that stand for a message.
const LOG_BYTES_MAX: u64 = 2048;
const LOG_LINES_MAX: usize = 80;
/// Containers of a name whose last words are shown: its state and its last state.
const SHOWN: usize = 2;

/// What the runtime says of a pod now.
pub async fn read(runtime: &Runtime, uid: &PodUid) -> Result<Observed, Status> {
    let selector = BTreeMap::from([(labels::POD_UID.to_owned(), uid.to_string())]);
    let mut sandboxes = sandboxes(runtime, &selector).await?;
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
    let mut containers = containers(runtime, &selector).await?;
    containers.sort_by_key(|container| std::cmp::Reverse((container.attempt, container.status.created_at)));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for container in &mut containers {
        let count = seen.entry(container.name.clone()).or_default();
        if container.state == State::Exited && *count < SHOWN {
            container.last_words = last_words(&container.status);
        }
        *count += 1;
    }
    Ok(Observed { sandboxes, containers })
}

async fn sandboxes(runtime: &Runtime, selector: &BTreeMap<String, String>) -> Result<Vec<Sandbox>, Status> {
    let filter = v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
    let list = v1::ListPodSandboxRequest { filter: Some(filter) };
    let items = runtime.service().list_pod_sandbox(list).await?.into_inner().items;
    let mut found = Vec::new();
    for item in items {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: item.id, verbose: false };
        if let Some(answer) = there(runtime.service().pod_sandbox_status(request).await)? {
            found.extend(answer.into_inner().status.map(sandbox));
        }
    }
    Ok(found)
}

async fn containers(
    runtime: &Runtime,
    selector: &BTreeMap<String, String>,
) -> Result<Vec<ObservedContainer>, Status> {
    let filter = v1::ContainerFilter { label_selector: selector.clone(), ..Default::default() };
    let list = v1::ListContainersRequest { filter: Some(filter) };
    let items = runtime.service().list_containers(list).await?.into_inner().containers;
    let mut found = Vec::new();
    for item in items {
        let request = v1::ContainerStatusRequest { container_id: item.id, verbose: false };
        if let Some(answer) = there(runtime.service().container_status(request).await)? {
            found.extend(answer.into_inner().status.map(|status| container(item.pod_sandbox_id, status)));
        }
    }
    Ok(found)
}

fn there<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn sandbox(status: v1::PodSandboxStatus) -> Sandbox {
    let options = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
    let host_network = options.is_some_and(|options| options.network() == v1::NamespaceMode::Node);
    let network = status.network.clone().unwrap_or_default();
    let addresses = std::iter::once(&network.ip).chain(network.additional_ips.iter().map(|more| &more.ip));
    Sandbox {
        attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        ready: status.state() == v1::PodSandboxState::SandboxReady,
        created_at: status.created_at,
        addresses: addresses.filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
        host_network,
        id: status.id,
    }
}

fn container(sandbox: String, status: v1::ContainerStatus) -> ObservedContainer {
    let metadata = status.metadata.clone().unwrap_or_default();
    let state = match status.state() {
        v1::ContainerState::ContainerCreated => State::Created,
        v1::ContainerState::ContainerRunning => State::Running,
        v1::ContainerState::ContainerExited => State::Exited,
        v1::ContainerState::ContainerUnknown => State::Unknown,
    };
    ObservedContainer {
        id: status.id.clone(),
        sandbox,
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        attempt: metadata.attempt,
        state,
        last_words: String::new(),
        status,
    }
}

/// What the container left at its terminationMessagePath, or the end of its log where it asked for that.
fn last_words(status: &v1::ContainerStatus) -> String {
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or_default();
    let path = annotation(labels::MESSAGE_PATH);
    let mount = status.mounts.iter().find(|mount| mount.container_path == path && !path.is_empty());
    let told = mount.map(|mount| tail(Path::new(&mount.host_path), MESSAGE_BYTES_MAX)).unwrap_or_default();
    let falls_back = annotation(labels::MESSAGE_POLICY) == "FallbackToLogsOnError";
    if !told.is_empty() || status.exit_code == 0 || !falls_back {
        return told;
    }
    from_log(&tail(Path::new(&status.log_path), LOG_BYTES_MAX * 4))
}

/// The last lines of a log without their time and stream.
fn from_log(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let kept = lines.iter().rev().take(LOG_LINES_MAX).rev();
    let text: String =
        kept.filter_map(|line| line.splitn(4, ' ').nth(3)).flat_map(|content| [content, "\n"]).collect();
    let most = usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX);
    let from = (text.len().saturating_sub(most)..=text.len()).find(|at| text.is_char_boundary(*at));
    text[from.unwrap_or(0)..].to_owned()
}

/// The end of a file; nothing where it cannot be read.
fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(content)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lose_their_prefix() {
        let log = "2026-01-01T00:00:00Z stdout F one two\n2026-01-01T00:00:00Z stderr F three\n";
        assert_eq!(from_log(log), "one two\nthree\n");
        assert_eq!(from_log(""), "");
    }
}
