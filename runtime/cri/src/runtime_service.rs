//! RuntimeService: one file per call. Here is only which file answers which call.
//!
//! Reference: CRI v1, `service RuntimeService`.

mod attach;
mod container_stats;
mod container_status;
mod create_container;
mod exec;
mod exec_sync;
mod get_container_events;
mod list_container_stats;
mod list_containers;
mod list_metric_descriptors;
mod list_pod_sandbox;
mod list_pod_sandbox_metrics;
mod list_pod_sandbox_stats;
mod pod_sandbox_stats;
mod pod_sandbox_status;
mod port_forward;
mod remove_container;
mod remove_pod_sandbox;
mod reopen_container_log;
mod run_pod_sandbox;
mod runtime_config;
mod start_container;
mod status;
mod stop_container;
mod stop_pod_sandbox;
mod stream_container_stats;
mod stream_containers;
mod stream_pod_sandbox_metrics;
mod stream_pod_sandbox_stats;
mod stream_pod_sandboxes;
mod unserved;
mod update_container_resources;
mod update_pod_sandbox_resources;
mod update_runtime_config;
mod version;

use std::sync::Arc;

use cri_api::v1;
use cri_api::v1::runtime_service_server::RuntimeService;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::fault::Outcome;
use crate::node::Node;
use crate::stream_backend::Streaming;

/// The service over one node.
#[derive(Clone)]
pub struct Runtime {
    pub node: Arc<Node>,
    pub streaming: Streaming,
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

fn answer<T>(outcome: Outcome<T>) -> Answer<T> {
    outcome.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    type StreamPodSandboxesStream = Stream<v1::StreamPodSandboxesResponse>;
    type StreamContainersStream = Stream<v1::StreamContainersResponse>;
    type StreamContainerStatsStream = Stream<v1::StreamContainerStatsResponse>;
    type StreamPodSandboxStatsStream = Stream<v1::StreamPodSandboxStatsResponse>;
    type StreamPodSandboxMetricsStream = Stream<v1::StreamPodSandboxMetricsResponse>;
    type GetContainerEventsStream = Stream<v1::ContainerEventResponse>;

    async fn version(&self, request: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        answer(version::call(&self.node, request.into_inner()).await)
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        answer(status::call(&self.node, request.into_inner()).await)
    }

    async fn runtime_config(
        &self,
        request: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        answer(runtime_config::call(&self.node, request.into_inner()).await)
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        answer(update_runtime_config::call(&self.node, request.into_inner()).await)
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        answer(run_pod_sandbox::call(&self.node, request.into_inner()).await)
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        answer(stop_pod_sandbox::call(&self.node, request.into_inner()).await)
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        answer(remove_pod_sandbox::call(&self.node, request.into_inner()).await)
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        answer(pod_sandbox_status::call(&self.node, request.into_inner()).await)
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        answer(list_pod_sandbox::call(&self.node, request.into_inner()).await)
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        answer(create_container::call(&self.node, request.into_inner()).await)
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        answer(start_container::call(&self.node, request.into_inner()).await)
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        answer(stop_container::call(&self.node, request.into_inner()).await)
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        answer(remove_container::call(&self.node, request.into_inner()).await)
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        answer(list_containers::call(&self.node, request.into_inner()).await)
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        answer(container_status::call(&self.node, request.into_inner()).await)
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        answer(update_container_resources::call(&self.node, request.into_inner()).await)
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        answer(reopen_container_log::call(&self.node, request.into_inner()).await)
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        answer(exec_sync::call(&self.node, request.into_inner()).await)
    }

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        answer(exec::call(&self.node, &self.streaming, request.into_inner()).await)
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        answer(attach::call(&self.node, &self.streaming, request.into_inner()).await)
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        answer(port_forward::call(&self.node, &self.streaming, request.into_inner()).await)
    }

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        answer(container_stats::call(&self.node, request.into_inner()).await)
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        answer(list_container_stats::call(&self.node, request.into_inner()).await)
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        answer(pod_sandbox_stats::call(&self.node, request.into_inner()).await)
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        answer(list_pod_sandbox_stats::call(&self.node, request.into_inner()).await)
    }

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        answer(Ok(get_container_events::call(&self.node)))
    }

    async fn checkpoint_container(
        &self,
        _: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        unserved::answer("CheckpointContainer")
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        answer(list_metric_descriptors::call())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        request: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        answer(list_pod_sandbox_metrics::call(&self.node, request.into_inner()).await)
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        answer(update_pod_sandbox_resources::call(&self.node, request.into_inner()).await)
    }

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        answer(stream_pod_sandboxes::call(&self.node, request.into_inner()).await)
    }

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        answer(stream_containers::call(&self.node, request.into_inner()).await)
    }

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        answer(stream_container_stats::call(&self.node, request.into_inner()).await)
    }

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        answer(stream_pod_sandbox_stats::call(&self.node, request.into_inner()).await)
    }

    async fn stream_pod_sandbox_metrics(
        &self,
        request: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        answer(stream_pod_sandbox_metrics::call(&self.node, request.into_inner()).await)
    }
}
