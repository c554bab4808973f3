//! CRI as a kubelet speaks it; a call that fails ends the bench with its words.

use std::time::Duration;

use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, LinuxContainerConfig,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PullImageRequest, RemoveImageRequest,
    RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StatusRequest,
    StopContainerRequest, StopPodSandboxRequest,
};
use tonic::transport::{Channel, Endpoint};

/// Ends at once when it is asked to, and says when it has come so far that it can be asked.
pub const OBEDIENT: &str = "trap 'exit 0' TERM; echo up; sleep 100000 & wait";
/// Seconds until SIGKILL; never reached.
const GRACE: i64 = 60;
const LOOK: Duration = Duration::from_millis(1);
const LOOKS_MAX: u32 = 60_000;

#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    /// Of the containers.
    pub image: String,
    logs: String,
    cgroup: String,
}

/// A pod with one container.
pub struct Pod {
    pub config: PodSandboxConfig,
    pub sandbox: String,
    pub container: String,
}

impl Client {
    /// None while nobody serves, or the network is not ready yet.
    pub async fn connect(socket: &str, logs: String, cgroup: String) -> Option<Client> {
        let endpoint = Endpoint::try_from(format!("unix://{socket}")).expect("an address");
        let channel = endpoint.connect().await.ok()?;
        let mut runtime = RuntimeServiceClient::new(channel.clone());
        let status = runtime.status(StatusRequest { verbose: false }).await.ok()?.into_inner().status?;
        let images = ImageServiceClient::new(channel);
        let ready = status.conditions.iter().all(|condition| condition.status);
        ready.then(|| Client { runtime, images, image: String::new(), logs, cgroup })
    }

    pub async fn pull(&mut self, image: &str) {
        let request = PullImageRequest { image: Some(spec(image)), ..Default::default() };
        self.images.pull_image(request).await.unwrap_or_else(|status| panic!("PullImage {image}: {status}"));
    }

    pub async fn remove_image(&mut self, image: &str) {
        let request = RemoveImageRequest { image: Some(spec(image)) };
        self.images
            .remove_image(request)
            .await
            .unwrap_or_else(|status| panic!("RemoveImage {image}: {status}"));
    }

    pub async fn run(&mut self, name: &str) -> Pod {
        let config = self.pod(name);
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let answer = self.runtime.run_pod_sandbox(request).await;
        let answer = answer.unwrap_or_else(|status| panic!("RunPodSandbox: {status}"));
        Pod { config, sandbox: answer.into_inner().pod_sandbox_id, container: String::new() }
    }

    pub async fn create(&mut self, pod: &mut Pod, command: &[&str]) {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.sandbox.clone(),
            config: Some(self.container(command)),
            sandbox_config: Some(pod.config.clone()),
        };
        let answer = self.runtime.create_container(request).await;
        let answer = answer.unwrap_or_else(|status| panic!("CreateContainer: {status}"));
        pod.container = answer.into_inner().container_id;
    }

    pub async fn start(&mut self, pod: &Pod) {
        let request = StartContainerRequest { container_id: pod.container.clone() };
        self.runtime
            .start_container(request)
            .await
            .unwrap_or_else(|status| panic!("StartContainer: {status}"));
    }

    pub async fn stop(&mut self, pod: &Pod) {
        let request = StopContainerRequest { container_id: pod.container.clone(), timeout: GRACE };
        self.runtime.stop_container(request).await.unwrap_or_else(|status| panic!("StopContainer: {status}"));
    }

    pub async fn stop_sandbox(&mut self, pod: &Pod) {
        let request = StopPodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
        self.runtime
            .stop_pod_sandbox(request)
            .await
            .unwrap_or_else(|status| panic!("StopPodSandbox: {status}"));
    }

    pub async fn remove_sandbox(&mut self, pod: &Pod) {
        let request = RemovePodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
        self.runtime
            .remove_pod_sandbox(request)
            .await
            .unwrap_or_else(|status| panic!("RemovePodSandbox: {status}"));
    }

    /// A pod with an obedient container, from nothing to started.
    pub async fn bring_up(&mut self, name: &str) -> Pod {
        let mut pod = self.run(name).await;
        self.create(&mut pod, &["sh", "-c", OBEDIENT]).await;
        self.start(&pod).await;
        pod
    }

    /// And all of it away again.
    pub async fn take_down(&mut self, pod: &Pod) {
        self.stop_sandbox(pod).await;
        self.remove_sandbox(pod).await;
    }

    /// Where the container's log is.
    pub fn log(&self, pod: &Pod) -> String {
        format!("{}/c.log", pod.config.log_directory)
    }

    /// Waits until the container has said something. Outside of all that is measured.
    pub async fn spoken(&self, pod: &Pod) {
        let path = self.log(pod);
        for _ in 0..LOOKS_MAX {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{path} stays empty");
    }

    fn pod(&self, name: &str) -> PodSandboxConfig {
        let context =
            LinuxSandboxSecurityContext { namespace_options: Some(own_processes()), ..Default::default() };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: format!("{}/{name}", self.logs),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/{name}", self.cgroup),
                security_context: Some(context),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn container(&self, command: &[&str]) -> ContainerConfig {
        let security_context =
            LinuxContainerSecurityContext { namespace_options: Some(own_processes()), ..Default::default() };
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            image: Some(spec(&self.image)),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: "c.log".to_owned(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(security_context),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

fn own_processes() -> NamespaceOption {
    NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() }
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), ..Default::default() }
}
