//! Starting one container: image, environment, mounts, configuration, create, start, postStart.
//!
//! Reference: upstream's `startContainer`, whose reasons and events these are.

use std::collections::BTreeMap;
use std::time::Duration;

use client::EventKind;
use cri_api::v1;

use super::Progress;
use super::operate::{Operation, sandbox_config};
use super::stop::kill;
use crate::container_config::{self, ImageFacts};
use crate::hooks::{self, Hook};
use crate::images::ImageWaiting;
use crate::observed::{ObservedContainer, Sandbox, State};
use crate::pod::{Addresses, Container};
use crate::status::Waiting;
use crate::volumes::Volumes;
use crate::{environment, hosts_file, labels};

const CONFIG_ERROR: &str = "CreateContainerConfigError";
const CREATE_ERROR: &str = "CreateContainerError";
const RUN_ERROR: &str = "RunContainerError";
const HOOK_ERROR: &str = "PostStartHookError";
/// Before a container is tried again whose configuration or start failed.
const AGAIN: Duration = Duration::from_secs(10);

/// A container that does not run now.
pub(super) struct StartFailure {
    pub retry_after: Duration,
    /// Nothing after it in the order may start: it is an init container.
    pub stops_others: bool,
}

/// Why, as users see it.
struct Why {
    reason: &'static str,
    message: String,
    retry_after: Duration,
}

impl From<ImageWaiting> for Why {
    fn from(waiting: ImageWaiting) -> Why {
        Why { reason: waiting.reason, message: waiting.message, retry_after: waiting.retry_after }
    }
}

fn because(reason: &'static str, message: impl Into<String>) -> Why {
    Why { reason, message: message.into(), retry_after: AGAIN }
}

impl Operation {
    pub(super) async fn start(&self, name: &str, attempt: u32) -> Result<(), StartFailure> {
        let Some(container) = self.pod.container(name) else { return Ok(()) };
        let started = self.attempt(container, attempt).await;
        let Err(why) = started else {
            // The receiver lives in the worker that owns this operation.
            let _ = self.progress.send(Progress::Runs(name.to_owned())).await;
            return Ok(());
        };
        let waiting = Waiting { reason: why.reason.to_owned(), message: why.message };
        let _ = self.progress.send(Progress::Waits(name.to_owned(), waiting)).await;
        let stops_others = self.pod.init.iter().any(|init| init.name == name);
        Err(StartFailure { retry_after: why.retry_after, stops_others })
    }

    async fn attempt(&self, container: &Container, attempt: u32) -> Result<(), Why> {
        let Some(sandbox) = self.observed.ready_sandbox() else { return Ok(()) };
        let addresses = match self.pod.host_network {
            true => self.context.facts.addresses.clone(),
            false => sandbox.addresses.clone(),
        };
        let id = match self.start_left(container, attempt, &sandbox.id, &addresses).await {
            Some(left) => left,
            None => self.start_new(container, attempt, sandbox, &addresses).await?,
        };
        self.tell(container, EventKind::Normal, "Started", "Container started".to_owned());
        self.link_log(container, attempt, &id);
        self.post_start(container, &id, &addresses).await
    }

    async fn start_new(
        &self,
        container: &Container,
        attempt: u32,
        sandbox: &Sandbox,
        addresses: &Addresses,
    ) -> Result<String, Why> {
        let volumes = self.image_volumes(container).await?;
        let image = self.context.images.ensure(&self.pod, container).await.map_err(|waiting| {
            self.failed(container, waiting.reason);
            Why::from(waiting)
        })?;
        let config = self.configuration(container, attempt, &image, &volumes, addresses).await;
        let config = config.map_err(|message| {
            self.failed(container, &message);
            because(CONFIG_ERROR, message)
        })?;
        let pod_config = sandbox_config(&self.context, &self.pod, sandbox.attempt)
            .map_err(|error| because(CONFIG_ERROR, error.to_string()))?;
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod_config),
        };
        let mut runtime = self.context.runtime.service();
        let made = runtime.create_container(request).await.map_err(|status| {
            self.failed(container, status.message());
            because(CREATE_ERROR, status.message())
        })?;
        let id = made.into_inner().container_id;
        self.tell(container, EventKind::Normal, "Created", "Container created".to_owned());
        let request = v1::StartContainerRequest { container_id: id.clone() };
        runtime.start_container(request).await.map_err(|status| {
            self.failed(container, status.message());
            Why { retry_after: Duration::ZERO, ..because(RUN_ERROR, status.message()) }
        })?;
        Ok(id)
    }

    /// The images that the container mounts, by their volumes' names. All are tried; the last failure is told.
    async fn image_volumes(&self, container: &Container) -> Result<BTreeMap<String, String>, Why> {
        let (mut found, mut failure) = (BTreeMap::new(), None);
        for volume in Volumes::images(&self.pod, container) {
            let mut known = self.image_volumes.lock().await;
            let got = match known.get(&volume.name) {
                Some(got) => got.clone(),
                None => {
                    let got = self.context.images.ensure_volume(&self.pod, &volume).await;
                    known.insert(volume.name.clone(), got.clone());
                    got
                }
            };
            match got {
                Ok(facts) => drop(found.insert(volume.name, facts.id)),
                Err(waiting) => {
                    self.failed(container, waiting.reason);
                    failure = Some(waiting);
                }
            }
        }
        failure.map_or(Ok(found), |waiting| Err(Why::from(waiting)))
    }

    /// What an interrupted start left is started in its place, or removed where it cannot be: it has the attempt's name.
    ///
    /// Its own start may still be on its way. Were it removed, a container that runs would end, and whoever looks then
    /// would count a restart.
    /// Its environment is the one that it was made with, as if it had started then.
    async fn start_left(
        &self,
        container: &Container,
        attempt: u32,
        sandbox: &str,
        addresses: &Addresses,
    ) -> Option<String> {
        let is_left = |known: &&ObservedContainer| known.attempt == attempt && known.state == State::Created;
        let left = self.observed.latest(&container.name).filter(is_left)?;
        let mut runtime = self.context.runtime.service();
        let hash = left.status.annotations.get(labels::HASH);
        if left.sandbox == sandbox && hash.is_some_and(|hash| *hash == labels::hash(container)) {
            if let Err(error) = self.hosts_file(container, addresses) {
                tracing::warn!(container = %left.id, %error, "/etc/hosts of a container that was left is not written anew");
            }
            let request = v1::StartContainerRequest { container_id: left.id.clone() };
            match runtime.start_container(request).await {
                Ok(_) => return Some(left.id.clone()),
                Err(_) if self.has_started(&left.id).await => return Some(left.id.clone()),
                Err(status) => {
                    tracing::warn!(container = %left.id, error = %status, "a container that was left does not start; it is made again");
                }
            }
        }
        let request = v1::RemoveContainerRequest { container_id: left.id.clone() };
        if let Err(status) = runtime.remove_container(request).await {
            // Where it stays, the next call says so.
            tracing::warn!(container = %left.id, error = %status, "a container that never started is not removed");
        }
        None
    }

    /// Also one that has ended already.
    async fn has_started(&self, id: &str) -> bool {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.context.runtime.service().container_status(request).await;
        answer.ok().and_then(|answer| answer.into_inner().status).is_some_and(|status| status.started_at > 0)
    }

    async fn configuration(
        &self,
        container: &Container,
        attempt: u32,
        image: &ImageFacts,
        volumes: &BTreeMap<String, String>,
        addresses: &Addresses,
    ) -> Result<v1::ContainerConfig, String> {
        let (context, pod) = (&self.context, &self.pod);
        let environment = environment::of(pod, container, addresses, &context.facts, &context.volumes)
            .await
            .map_err(|error| error.to_string())?;
        let mounts = context
            .volumes
            .mounts(pod, container, &environment, &self.volumes, volumes)
            .await
            .map_err(|error| error.to_string())?;
        let hosts_file =
            self.hosts_file(container, addresses).map_err(|error| format!("/etc/hosts: {error}"))?;
        let message = self
            .termination_message(container, attempt)
            .map_err(|error| format!("the file of the termination message: {error}"))?;
        let target = container.value["targetContainerName"].as_str();
        let target = target.and_then(|name| self.observed.latest(name)).map(|latest| latest.id.clone());
        let user = context.user_namespaces.of(pod)?;
        container_config::of(&container_config::Inputs {
            user: user.as_ref(),
            pod,
            container,
            attempt,
            node: &context.facts,
            image,
            environment: &environment,
            mounts: &mounts,
            hosts_file,
            termination_message: Some(message),
            annotations: Default::default(),
            target,
        })
        .map_err(|error| error.to_string())
    }

    /// Written before each start: addresses and aliases may have changed.
    fn hosts_file(
        &self,
        container: &Container,
        addresses: &Addresses,
    ) -> std::io::Result<Option<std::path::PathBuf>> {
        if hosts_file::is_own(container) {
            return Ok(None);
        }
        let host = std::fs::read_to_string(hosts_file::PLACE).unwrap_or_default();
        let Some(content) = hosts_file::content(&self.pod, addresses, &self.context.facts, &host) else {
            return Ok(None);
        };
        let path = self.context.paths.hosts_file(&self.pod.uid);
        std::fs::create_dir_all(self.context.paths.pod(&self.pod.uid))?;
        // In place: containers that run have this very file mounted.
        std::fs::write(&path, content)?;
        Ok(Some(path))
    }

    fn termination_message(
        &self,
        container: &Container,
        attempt: u32,
    ) -> std::io::Result<std::path::PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.context.paths.termination_message(&self.pod.uid, &container.name, attempt);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, "")?;
        // Whoever the container runs as writes it.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(path)
    }

    /// The name that log collectors look for.
    fn link_log(&self, container: &Container, attempt: u32, id: &str) {
        let paths = &self.context.paths;
        let link = paths.container_log_link(&self.pod, &container.name, id);
        let log =
            paths.log_directory(&self.pod).join(crate::paths::Paths::log_path(&container.name, attempt));
        let made = std::fs::create_dir_all(&paths.container_logs)
            .and_then(|()| std::os::unix::fs::symlink(log, &link));
        if let Err(error) = made {
            tracing::warn!(container = id, link = %link.display(), %error, "the link to a log is not made");
        }
    }

    async fn post_start(&self, container: &Container, id: &str, addresses: &Addresses) -> Result<(), Why> {
        let Some(handler) = hooks::of(container, Hook::PostStart) else { return Ok(()) };
        let runtime = &self.context.runtime;
        let done = hooks::run(handler, container, id, addresses, runtime, hooks::LONGEST).await;
        let Err(why) = done else { return Ok(()) };
        tracing::info!(container = id, %why, "a postStart hook failed");
        self.tell(container, EventKind::Warning, "FailedPostStartHook", "PostStartHook failed".to_owned());
        let (name, grace) = (&container.name, self.pod.grace_seconds);
        kill(&self.context, &self.pod, &self.killing, name, id, "FailedPostStartHook", grace).await;
        Err(Why { retry_after: Duration::ZERO, ..because(HOOK_ERROR, "PostStartHook failed") })
    }

    fn failed(&self, container: &Container, message: &str) {
        self.tell(container, EventKind::Warning, "Failed", format!("Error: {message}"));
    }

    fn tell(&self, container: &Container, kind: EventKind, reason: &str, message: String) {
        self.context.events.record(self.pod.container_reference(container), kind, reason, message);
    }
}
