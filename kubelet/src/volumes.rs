//! Volumes: what a pod's containers find mounted.
//!
//! The worker calls [`Volumes::prepare`] before the first container starts and again whenever [`Volumes::changes`]
//! names the pod; [`Volumes::teardown`] when the last container is gone.

use client::{Client, EventRecorder};
use cri_api::v1;
use tokio::sync::mpsc;

use crate::container_config::ContainerConfigError;
use crate::facts::NodeFacts;
use crate::paths::Paths;
use crate::pod::{Container, Pod, PodUid};

/// Changes that wait to be heard.
const CHANGES: usize = 256;

/// The volumes of one pod by name: where they are on this node, and what a mount of them needs to know.
#[derive(Clone, Debug, Default)]
pub struct PodVolumes {}

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
    _changed: mpsc::Sender<PodUid>,
}

impl Volumes {
    /// With the channel that names pods whose references changed.
    pub fn new(
        _client: Client,
        _paths: Paths,
        _facts: NodeFacts,
        _events: EventRecorder,
    ) -> (Volumes, mpsc::Receiver<PodUid>) {
        let (_changed, changes) = mpsc::channel(CHANGES);
        (Volumes { _changed }, changes)
    }

    /// Makes every volume of the pod, or brings it up to date. Idempotent.
    pub async fn prepare(&self, _pod: &Pod) -> Result<PodVolumes, VolumeError> {
        Ok(PodVolumes::default())
    }

    /// The mounts of one container, for its configuration; subPath and subPathExpr are resolved and bound here, so this
    /// is called before each start of a container.
    pub async fn mounts(
        &self,
        _pod: &Pod,
        _container: &Container,
        _environment: &[(String, String)],
        _volumes: &PodVolumes,
    ) -> Result<Vec<v1::Mount>, ContainerConfigError> {
        Ok(Vec::new())
    }

    /// Takes away every volume of the pod, also of one that only a former kubelet knew. Idempotent.
    pub async fn teardown(&self, _uid: &PodUid) -> Result<(), VolumeError> {
        Ok(())
    }
}
