//! Volumes: what a pod's containers find mounted.
//!
//! ```text
//! pod ─desired─> Volume ─fetch─> payload ─folder, atomic_writer─> <root>/pods/<uid>/volumes/kubernetes.io~<plugin>/<name>
//!       objects ─changes──┐
//!       renewal ─tokens───┴─> the worker, which calls prepare again
//! ```
//!
//! The worker calls [`Volumes::prepare`] before the first container starts, whenever the pod's object changed (its
//! labels may be shown in a volume) and whenever [`Volumes::changes`] names the pod; [`Volumes::mounts`] before each
//! start of a container; [`Volumes::teardown`] when the last container is gone.
//!
//! What is not here: volumes that others provide (CSI, network); their kinds are refused with a sentence.
//!
//! **Invariants**
//! - Secrets and tokens are only ever written to memory-backed folders.
//! - The content of a volume that was there before is replaced as a whole or not at all.

mod atomic_writer;
mod claim;
mod desired;
mod folder;
mod host_path;
pub mod objects;
mod payload;
mod renewal;
mod sub_path;
mod teardown;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, EventKind, EventRecorder, Object, Resource, Selection};
use cri_api::v1;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::container_config::ContainerConfigError;
use crate::environment::expansion::expand;
use crate::facts::NodeFacts;
use crate::paths::Paths;
use crate::pod::{Container, Pod, PodUid, PullPolicy};
use crate::resources::Amounts;
use crate::token::Tokens;
use claim::Found;
use desired::{Medium, Part, Source, Volume};
use folder::{Backing, Folder};
use objects::{Kind, ObjectError, ObjectName, Objects};
use payload::Payload;
use renewal::Renewals;

/// Changes that wait to be heard; what does not fit waits in a set.
const CHANGES: usize = 256;
/// How often objects are asked for that no watch tells of.
const UNWATCHED: Duration = Duration::from_secs(60);
/// When a volume that shows old content is tried again; a change of its sources comes earlier.
const RETRY: Duration = Duration::from_secs(30);
/// How long a container's start waits for the first list of Services.
const SERVICES: Duration = Duration::from_secs(10);

/// The volumes of one pod by name: where they are on this node, and what a mount of them needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodVolumes {
    places: BTreeMap<String, Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// Written by the kubelet alone, or by nobody.
    read_only: bool,
    /// An image, which has no place on the host.
    is_image: bool,
}

/// A volume that is an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageVolume {
    pub name: String,
    pub reference: String,
    pub policy: PullPolicy,
}

/// Why a volume is not there. The worker records `FailedMount` and tries again.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
pub struct VolumeError {
    pub volume: String,
    pub why: String,
}

/// The room's front door, one per kubelet. It also holds the ConfigMaps, Secrets and Services that pods refer to,
/// for [`crate::environment`].
pub struct Volumes {
    paths: Paths,
    facts: NodeFacts,
    events: EventRecorder,
    client: Client,
    objects: Arc<Objects>,
    tokens: Tokens,
    services: Cache,
    renewals: Renewals,
}

impl Volumes {
    /// With the channel that names pods whose references changed. Must be called inside a tokio runtime.
    pub fn new(
        client: Client,
        paths: Paths,
        facts: NodeFacts,
        events: EventRecorder,
    ) -> (Volumes, mpsc::Receiver<PodUid>) {
        let (changed, changes) = mpsc::channel(CHANGES);
        let objects = Arc::new(Objects::start(client.clone(), changed));
        let renewals = Renewals::start({
            let objects = objects.clone();
            move |pod| objects.tell(pod)
        });
        let volumes = Volumes {
            paths,
            facts,
            events,
            services: Cache::start(client.clone(), Resource::SERVICES, Selection::default()),
            tokens: Tokens::new(client.clone()),
            client,
            objects,
            renewals,
        };
        (volumes, changes)
    }

    /// Makes every volume of the pod, or brings it up to date. Idempotent. Volumes that can be made are made, also
    /// where another one fails; the first failure is told. One that cannot be brought up to date keeps what it shows, so
    /// that a pod whose ConfigMap is gone can go on: that is only an event.
    pub async fn prepare(&self, pod: &Pod) -> Result<PodVolumes, VolumeError> {
        self.objects.keep(&pod.uid, &desired::references(pod));
        let mut made = PodVolumes::default();
        let mut next: Option<Instant> = None;
        let mut failure = None;
        for volume in desired::of(pod) {
            let place = match self.place(pod, &volume).await {
                Ok(place) => place,
                Err(why) => {
                    failure.get_or_insert(VolumeError { volume: volume.name, why });
                    continue;
                }
            };
            match self.set_up(pod, &volume, &place.path, &mut next).await {
                Ok(()) => drop(made.places.insert(volume.name, place)),
                Err(why) if place.read_only && atomic_writer::is_filled(&place.path) => {
                    let error = VolumeError { volume: volume.name.clone(), why };
                    self.events.record(pod.reference(), EventKind::Warning, "FailedMount", error.to_string());
                    sooner(&mut next, Instant::now() + RETRY);
                    made.places.insert(volume.name, place);
                }
                Err(why) => drop(failure.get_or_insert(VolumeError { volume: volume.name, why })),
            }
        }
        if self.objects.unwatched().contains(&pod.uid) {
            sooner(&mut next, Instant::now() + UNWATCHED);
        }
        self.renewals.set(&pod.uid, next);
        failure.map_or(Ok(made), Err)
    }

    /// The mounts of one container, for its configuration; subPath and subPathExpr are resolved and bound here, so this
    /// is called before each start of a container.
    pub async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        environment: &[(String, String)],
        volumes: &PodVolumes,
        images: &BTreeMap<String, String>,
    ) -> Result<Vec<v1::Mount>, ContainerConfigError> {
        let list = container.value["volumeMounts"].as_array().into_iter().flatten();
        let mut mounts = Vec::new();
        for (index, own) in list.enumerate() {
            let name = own["name"].as_str().unwrap_or_default();
            let wrong = |why: String| ContainerConfigError(why);
            let place = volumes.places.get(name).ok_or_else(|| {
                wrong(format!("cannot find volume {name:?} to mount into container {:?}", container.name))
            })?;
            let mut mount = mount(own, place, self.facts.recursive_read_only).map_err(wrong)?;
            let path = sub_path_of(own, environment).map_err(wrong)?;
            if !path.is_empty() {
                sub_path::validate(&path).map_err(wrong)?;
            }
            if place.is_image {
                let image = images.get(name).cloned().unwrap_or_default();
                mount.image = Some(v1::ImageSpec { image, ..Default::default() });
                mount.image_sub_path = path;
            } else if !path.is_empty() {
                let folder = self.paths.pod(&pod.uid).join("volume-subpaths");
                let target = folder.join(name).join(&container.name).join(index.to_string());
                mount.host_path = target.to_string_lossy().into_owned();
                self.bind(pod, container, name, &place.path, &path, target).await?;
            }
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// The images that a container mounts, each once.
    pub fn images(pod: &Pod, container: &Container) -> Vec<ImageVolume> {
        let list = container.value["volumeMounts"].as_array().into_iter().flatten();
        let mounted: Vec<&str> = list.filter_map(|own| own["name"].as_str()).collect();
        let image = |volume: Volume| match volume.source {
            Source::Image { reference, policy } if mounted.contains(&volume.name.as_str()) => {
                Some(ImageVolume { name: volume.name, reference, policy })
            }
            _ => None,
        };
        desired::of(pod).into_iter().filter_map(image).collect()
    }

    /// Takes away every volume of the pod, also of one that only a former kubelet knew. Idempotent.
    pub async fn teardown(&self, uid: &PodUid) -> Result<(), VolumeError> {
        self.objects.forget(uid);
        self.tokens.forget(uid);
        self.renewals.set(uid, None);
        let folder = self.paths.pod(uid);
        let done = blocking(move || teardown::teardown(&folder).map_err(|error| error.to_string())).await;
        done.map_err(|why| VolumeError { volume: uid.to_string(), why })
    }

    /// A ConfigMap or Secret as `pod` refers to it.
    pub async fn object(&self, pod: &Pod, kind: Kind, name: &str) -> Result<Arc<Object>, ObjectError> {
        let namespace = pod.key.namespace.clone();
        self.objects.get(&pod.uid, &ObjectName { kind, namespace, name: name.to_owned() }).await
    }

    /// All Services; none while they cannot be read.
    pub async fn services(&self) -> Option<Vec<Arc<Object>>> {
        tokio::time::timeout(SERVICES, self.services.synced()).await.ok()?;
        Some(self.services.list(""))
    }

    pub fn events(&self) -> &EventRecorder {
        &self.events
    }

    async fn place(&self, pod: &Pod, volume: &Volume) -> Result<Place, String> {
        let own = |plugin: &str| self.paths.volume(&pod.uid, plugin, &volume.name);
        let (path, read_only) = match &volume.source {
            Source::EmptyDir { .. } => (own("kubernetes.io~empty-dir"), false),
            Source::HostPath { path, .. } => (path.clone(), false),
            Source::Files { plugin, .. } => (own(plugin), true),
            Source::Claim(claim) => {
                let found = claim::find(&self.client, pod, claim).await?;
                let path = blocking(move || match found {
                    Found::HostPath { path, kind } => host_path::check(&path, &kind).map(|()| path),
                    Found::Local { path } => claim::check_local(&path).map(|()| path),
                });
                (path.await?, claim.read_only)
            }
            Source::Image { .. } | Source::Unsupported(_) => (PathBuf::new(), true),
        };
        Ok(Place { path, read_only, is_image: matches!(volume.source, Source::Image { .. }) })
    }

    async fn set_up(
        &self,
        pod: &Pod,
        volume: &Volume,
        path: &Path,
        next: &mut Option<Instant>,
    ) -> Result<(), String> {
        match &volume.source {
            Source::EmptyDir { medium, limit } => {
                let backing = match medium {
                    Medium::Disk => Backing::Disk,
                    Medium::Memory => {
                        Backing::Memory { size: memory_size(pod, &self.facts, *limit), secret: false }
                    }
                    Medium::HugePages(size) => Backing::HugePages(size.clone()),
                };
                let folder =
                    Folder { path: path.to_owned(), backing, mode: 0o777, group: payload::group(pod) };
                blocking(move || folder.make().map_err(|error| error.to_string())).await
            }
            Source::HostPath { path, kind } => {
                let (path, kind) = (path.clone(), kind.clone());
                blocking(move || host_path::check(&path, &kind)).await
            }
            Source::Files { plugin, parts, mode } => {
                let files = self.collect(pod, parts, *mode, next).await?;
                self.write(pod, plugin, path, files).await
            }
            // Looked at when their place was found.
            Source::Image { .. } | Source::Claim(_) => Ok(()),
            Source::Unsupported(kind) if kind.is_empty() => Err("the volume names no source".to_owned()),
            Source::Unsupported(kind) => Err(format!(
                "volumes of kind {kind} are not supported by this kubelet: emptyDir, hostPath, configMap, secret, projected, downwardAPI, persistentVolumeClaim, ephemeral and image are"
            )),
        }
    }

    /// Everything that a volume of files shows; `next` moves to when it grows old.
    async fn collect(
        &self,
        pod: &Pod,
        parts: &[Part],
        mode: u32,
        next: &mut Option<Instant>,
    ) -> Result<Payload, String> {
        let mut files = Payload::new();
        for part in parts {
            files.extend(match part {
                Part::Object { kind, name, items, optional } => match self.object(pod, *kind, name).await {
                    Ok(object) => payload::of_object(*kind, object.value(), items, *optional, mode)?,
                    Err(ObjectError::NotFound { .. }) if *optional => Payload::new(),
                    Err(error) => return Err(error.to_string()),
                },
                Part::Downward(items) => payload::of_downward(items, mode, pod, &self.facts)?,
                Part::Token { wish, path } => {
                    let token = self.tokens.get(pod, wish).await.map_err(|error| error.to_string())?;
                    sooner(next, token.renewed);
                    payload::of_token(token.text(), path, mode, pod)?
                }
                Part::Unsupported(kind) => {
                    return Err(format!(
                        "projected sources of kind {kind} are not supported by this kubelet"
                    ));
                }
            });
        }
        Ok(files)
    }

    async fn write(&self, pod: &Pod, plugin: &str, path: &Path, files: Payload) -> Result<(), String> {
        let backing = match plugin {
            "kubernetes.io~configmap" => Backing::Disk,
            _ => Backing::Memory { size: self.facts.allocatable.memory, secret: true },
        };
        let group = payload::group(pod);
        let folder = Folder { path: path.to_owned(), backing, mode: 0o755, group };
        let surroundings = self.client.surroundings();
        let stamp = (surroundings.now)().strftime("..%Y_%m_%d_%H_%M_%S.%N").to_string();
        let stamp = format!("{stamp}{:03}", (surroundings.random)(1000));
        blocking(move || {
            folder.make().map_err(|error| error.to_string())?;
            atomic_writer::write(&folder.path, &files, group, &stamp)
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await
    }

    async fn bind(
        &self,
        pod: &Pod,
        container: &Container,
        volume: &str,
        root: &Path,
        path: &str,
        target: PathBuf,
    ) -> Result<(), ContainerConfigError> {
        let (root, path) = (root.to_owned(), PathBuf::from(path));
        let bound =
            blocking(move || sub_path::bind(&root, &path, &target).map_err(|error| error.to_string()));
        bound.await.map_err(|error| {
            tracing::warn!(pod = %pod.key, uid = %pod.uid, container = container.name, volume, error, "a subPath is not bound");
            let name = &container.name;
            ContainerConfigError(format!(
                "failed to prepare subPath for volumeMount {volume:?} of container {name:?}"
            ))
        })
    }
}

/// What of a mount does not depend on the host.
fn mount(own: &Value, place: &Place, recursive_read_only: bool) -> Result<v1::Mount, String> {
    let path = own["mountPath"].as_str().unwrap_or_default();
    let container_path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let propagation = match own["mountPropagation"].as_str() {
        None | Some("" | "None") => v1::MountPropagation::PropagationPrivate,
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        Some(other) => return Err(format!("invalid MountPropagation mode: {other:?}")),
    };
    let asked = own["readOnly"] == true;
    let recursive = match own["recursiveReadOnly"].as_str() {
        Some("Enabled") if !recursive_read_only => {
            let name = own["name"].as_str().unwrap_or_default();
            return Err(format!(
                "volume {name:?} requested recursive read-only mode, but it is not supported by the runtime"
            ));
        }
        Some("Enabled") => true,
        Some("IfPossible") => {
            recursive_read_only && asked && propagation == v1::MountPropagation::PropagationPrivate
        }
        _ => false,
    };
    Ok(v1::Mount {
        container_path,
        host_path: place.path.to_string_lossy().into_owned(),
        readonly: asked || place.read_only,
        propagation: propagation.into(),
        recursive_read_only: recursive,
        ..Default::default()
    })
}

/// subPath, or subPathExpr over the container's environment; empty is the whole volume.
fn sub_path_of(own: &Value, environment: &[(String, String)]) -> Result<String, String> {
    let Some(expression) = own["subPathExpr"].as_str().filter(|text| !text.is_empty()) else {
        return Ok(own["subPath"].as_str().unwrap_or_default().to_owned());
    };
    let mut missing = std::collections::BTreeSet::new();
    let expanded = expand(expression, |name| {
        let value = environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        value.filter(|value| !value.is_empty()).unwrap_or_else(|| {
            missing.insert(name.to_owned());
            String::new()
        })
    });
    if missing.is_empty() {
        return Ok(expanded);
    }
    Err(format!("missing value for {}", missing.into_iter().collect::<Vec<_>>().join(", ")))
}

/// An emptyDir in memory is no larger than asked, than its pod may use, than the node can give.
fn memory_size(pod: &Pod, node: &NodeFacts, asked: i64) -> i64 {
    let whole = Amounts::read(&pod.spec()["resources"]["limits"]).memory;
    let limits: Vec<i64> =
        pod.main.iter().map(|one| Amounts::read(&one.value["resources"]["limits"]).memory).collect();
    let pod_limit = match whole {
        0 if limits.iter().all(|limit| *limit > 0) => limits.iter().sum(),
        whole => whole,
    };
    [asked, pod_limit, node.allocatable.memory].into_iter().filter(|size| *size > 0).min().unwrap_or(0)
}

fn sooner(next: &mut Option<Instant>, at: Instant) {
    *next = Some(next.map_or(at, |known| known.min(at)));
}

/// Work on files, off the threads that serve tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}
