//! Calls of the interface that are not served yet, each with what to do instead.

use tonic::{Response, Status};

use crate::fault::Fault;

/// Name of the call, and the sentence.
const UNSERVED: &[(&str, &str)] = &[
    ("CheckpointContainer", "containers cannot be checkpointed by this runtime"),
    ("ListMetricDescriptors", "use ListPodSandboxStats: metrics have no descriptors here yet"),
    ("ListPodSandboxMetrics", "use ListPodSandboxStats for figures of pods"),
    ("StreamContainers", "use ListContainers"),
    ("StreamContainerStats", "use ListContainerStats"),
    ("StreamPodSandboxes", "use ListPodSandbox"),
    ("StreamPodSandboxMetrics", "use ListPodSandboxStats for figures of pods"),
    ("StreamPodSandboxStats", "use ListPodSandboxStats"),
    ("UpdatePodSandboxResources", "the kubelet sets the limits of a pod's cgroup itself"),
];

pub fn answer<T>(call: &str) -> Result<Response<T>, Status> {
    let why = UNSERVED.iter().find(|(name, _)| *name == call).map_or("", |(_, why)| why);
    Err(Fault::Unsupported(format!("{call} is not served: {why}")).into())
}
