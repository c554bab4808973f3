//! Images: there already, pulled, or the reason why not.
//!
//! Failures back off per pod and image, so that one pod with a wrong secret does not hold up another with a right
//! one. Pulls go on in parallel up to [`PULLS_MAX`].
//!
//! Reference: upstream's image manager, whose reasons, messages and events these are.

pub mod collect;
mod credentials;
mod reference;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{Client, EventKind, EventRecorder, Reference};
use cri_api::v1;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::backoff::{Backoffs, go_duration};
use crate::container_config::ImageFacts;
use crate::pod::{Container, Pod, PullPolicy};
use crate::runtime::Runtime;
use crate::volumes::ImageVolume;

/// Pulls under way at one time.
const PULLS_MAX: usize = 8;
/// How long ErrImagePull is shown before ImagePullBackOff.
const TOLD_FOR: Duration = Duration::from_secs(1);

/// The room's front door, one per kubelet.
pub struct Images {
    runtime: Runtime,
    client: Client,
    events: EventRecorder,
    pulls: Semaphore,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    backoffs: Backoffs,
    /// When and why the last pull failed.
    last: HashMap<String, (Timestamp, String)>,
}

/// One image that a pod needs.
struct Wish<'a> {
    pod: &'a Pod,
    /// What events are about.
    about: Reference,
    image: &'a str,
    policy: PullPolicy,
}

/// Why a container waits for its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageWaiting {
    /// `ErrImagePull`, `ImagePullBackOff`, `InvalidImageName`, `ErrImageNeverPull`, `ImageInspectError`
    pub reason: &'static str,
    pub message: String,
    /// When to try again.
    pub retry_after: Duration,
}

impl Images {
    pub fn new(runtime: Runtime, client: Client, events: EventRecorder) -> Images {
        Images { runtime, client, events, pulls: Semaphore::new(PULLS_MAX), failures: Mutex::default() }
    }

    /// The container's image, pulled if its policy says so.
    pub async fn ensure(&self, pod: &Pod, container: &Container) -> Result<ImageFacts, ImageWaiting> {
        let about = pod.container_reference(container);
        self.ensure_one(&Wish { pod, about, image: &container.image, policy: container.pull_policy }).await
    }

    /// An image that is a volume: what happens to it is told about the pod.
    pub async fn ensure_volume(&self, pod: &Pod, volume: &ImageVolume) -> Result<ImageFacts, ImageWaiting> {
        let about = pod.reference();
        self.ensure_one(&Wish { pod, about, image: &volume.reference, policy: volume.policy }).await
    }

    async fn ensure_one(&self, wish: &Wish<'_>) -> Result<ImageFacts, ImageWaiting> {
        let asked = wish.image;
        let tell = |kind, reason: &str, message: String| {
            self.events.record(wish.about.clone(), kind, reason, message)
        };
        let name = reference::complete(asked).map_err(|why| {
            let message = format!(
                "Failed to apply default image tag {asked:?}: couldn't parse image name {asked:?}: {why}"
            );
            tell(EventKind::Warning, "InspectFailed", message.clone());
            ImageWaiting { reason: "InvalidImageName", message, retry_after: LONG_WAIT }
        })?;
        let present = self.find(&name).await.map_err(|status| {
            let message = format!("Failed to inspect image {asked:?}: {}", words(&status));
            tell(EventKind::Warning, "InspectFailed", message.clone());
            ImageWaiting { reason: "ImageInspectError", message, retry_after: SHORT_WAIT }
        })?;
        match (present, wish.policy) {
            (Some(facts), PullPolicy::IfNotPresent | PullPolicy::Never) => {
                let message = format!(
                    "Container image {asked:?} already present on machine and can be accessed by the pod"
                );
                tell(EventKind::Normal, "Pulled", message);
                Ok(facts)
            }
            (None, PullPolicy::Never) => {
                let message = format!("Container image {asked:?} is not present with pull policy of Never");
                tell(EventKind::Warning, "ErrImageNeverPull", message.clone());
                Err(ImageWaiting { reason: "ErrImageNeverPull", message, retry_after: LONG_WAIT })
            }
            _ => self.pull(wish, &name).await,
        }
    }

    async fn pull(&self, wish: &Wish<'_>, name: &str) -> Result<ImageFacts, ImageWaiting> {
        let asked = wish.image;
        let tell = |kind, reason: &str, message: String| {
            self.events.record(wish.about.clone(), kind, reason, message)
        };
        let key = format!("{}_{name}", wish.pod.uid);
        let now = self.client.surroundings().now;
        if let Some((left, why)) = self.backing_off(&key, now()) {
            tell(EventKind::Normal, "BackOff", format!("Back-off pulling image {asked:?}"));
            let message = format!("Back-off pulling image {asked:?}: ErrImagePull: {why}");
            return Err(ImageWaiting { reason: "ImagePullBackOff", message, retry_after: left });
        }
        tell(EventKind::Normal, "Pulling", format!("Pulling image {asked:?}"));
        let begun = Instant::now();
        // The semaphore lives as long as we do and is never closed.
        let permit = self.pulls.acquire().await;
        let pulling = Instant::now();
        let pulled = self.pull_with_secrets(wish.pod, name).await;
        drop(permit);
        let pulled = match pulled {
            Ok(_) => self.find(name).await.map(|found| found.map_or_else(|| Err(GONE.to_owned()), Ok)),
            Err(status) => Err(status),
        };
        match pulled.map_err(|status| words(&status)).and_then(|found| found) {
            Ok(facts) => {
                self.failures().forget(&key);
                let (took, whole) = (pulling.elapsed(), begun.elapsed());
                let size = self.size(name).await;
                let message = format!(
                    "Successfully pulled image {asked:?} in {} ({} including waiting). Image size: {size} bytes.",
                    go_duration(took),
                    go_duration(whole)
                );
                tell(EventKind::Normal, "Pulled", message);
                Ok(facts)
            }
            Err(why) => {
                tell(EventKind::Warning, "Failed", format!("Failed to pull image {asked:?}: {why}"));
                let mut failures = self.failures();
                let last = failures.last.get(&key).map_or(now(), |(at, _)| *at);
                failures.backoffs.count(&key, last, now());
                failures.last.insert(key, (now(), why.clone()));
                Err(ImageWaiting { reason: "ErrImagePull", message: why, retry_after: TOLD_FOR })
            }
        }
    }

    /// With each of the pod's secrets for this registry; without any where there are none.
    async fn pull_with_secrets(&self, pod: &Pod, name: &str) -> Result<String, Status> {
        let mut logins = credentials::of(&self.client, pod, name).await.into_iter().map(Some).peekable();
        let mut refused = None;
        if logins.peek().is_none() {
            return self.pull_once(name, None).await;
        }
        for auth in logins {
            match self.pull_once(name, auth).await {
                Ok(pulled) => return Ok(pulled),
                Err(status) => refused = Some(status),
            }
        }
        Err(refused.unwrap_or_else(|| Status::internal("no login was tried")))
    }

    async fn pull_once(&self, name: &str, auth: Option<v1::AuthConfig>) -> Result<String, Status> {
        let request = v1::PullImageRequest { image: Some(spec(name)), auth, sandbox_config: None };
        Ok(self.runtime.images().pull_image(request).await?.into_inner().image_ref)
    }

    async fn find(&self, name: &str) -> Result<Option<ImageFacts>, Status> {
        Ok(self.image(name).await?.map(|image| ImageFacts {
            id: image.id,
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
        }))
    }

    async fn size(&self, name: &str) -> u64 {
        self.image(name).await.ok().flatten().map_or(0, |image| image.size)
    }

    async fn image(&self, name: &str) -> Result<Option<v1::Image>, Status> {
        let request = v1::ImageStatusRequest { image: Some(spec(name)), verbose: false };
        match self.runtime.images().image_status(request).await {
            Ok(answer) => Ok(answer.into_inner().image),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    fn backing_off(&self, key: &str, now: Timestamp) -> Option<(Duration, String)> {
        let failures = self.failures();
        let (at, why) = failures.last.get(key)?;
        let (_, left) = failures.backoffs.waits(key, *at, now)?;
        Some((left, why.clone()))
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the failures of a pod that is gone.
    pub fn forget(&self, pod: &Pod) {
        let prefix = format!("{}_", pod.uid);
        let mut failures = self.failures();
        let keys: Vec<String> =
            failures.last.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for key in keys {
            failures.forget(&key);
        }
    }
}

impl Failures {
    fn forget(&mut self, key: &str) {
        self.last.remove(key);
        self.backoffs.forget(key);
    }
}

/// For what only a change of the pod can mend.
const LONG_WAIT: Duration = Duration::from_secs(60);
/// For what the runtime may have mended soon.
const SHORT_WAIT: Duration = Duration::from_secs(5);
const GONE: &str = "the image is not there after it was pulled";

fn spec(name: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: name.to_owned(), ..Default::default() }
}

/// As Go's gRPC prints an error.
pub fn words(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}
