//! A node of its own for one test: `keelson cri` with everything below one folder, and a client for it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{
    ContainerConfig, ContainerEventResponse, ContainerMetadata, ContainerState, ContainerStatus,
    ContainerStatusRequest, CreateContainerRequest, ExecSyncRequest, ExecSyncResponse, ImageSpec,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PullImageRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StatusRequest, StopContainerRequest, StopPodSandboxRequest, VersionRequest,
};
use harness::host::Guard;
use harness::registry::{Debian, Login, debian};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon, its registry and the host's comparison, which is made when the test calls [`Stage::finish`].
pub struct Stage {
    daemon: Option<Child>,
    pub image: String,
    pub tag: String,
    pub folder: tempfile::TempDir,
    pub registry: Debian,
    /// Further arguments of the daemon, for its next start.
    pub arguments: Vec<String>,
    guard: Option<Guard>,
}

/// Both services of one node.
#[derive(Clone)]
pub struct Client {
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
    pub image: ImageSpec,
    pub folder: PathBuf,
}

/// Runs one story against a fresh node, then expects the host as it was.
pub fn stage(test: &str, story: impl AsyncFnOnce(&mut Stage, Client)) {
    if !harness::root_or_skip(test) {
        return;
    }
    let Some(image) = harness::image::busybox() else { return harness::skip(test, "no busybox-static") };
    // The registry comes after: another test's would be seen as left by this one.
    let guard = harness::host::exclusive(test);
    let Some(registry) = debian(Login::None) else { return harness::skip(test, "no docker-registry") };
    let reference = registry.push("busybox", "e2e", &image.build());
    let mut stage = Stage::open(guard, registry, reference);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = stage.connect().await;
        client.pull().await.expect("the image is pulled");
        story(&mut stage, client).await;
    });
    stage.finish();
}

impl Stage {
    fn open(guard: Guard, registry: Debian, image: String) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [registry.address.replace(':', "_"), registry.address.clone()] {
            let hosts = folder.path().join("registries").join(name);
            std::fs::create_dir_all(&hosts).expect("a folder");
            let text = format!("server = \"http://{}\"\n", registry.address);
            std::fs::write(hosts.join("hosts.toml"), text).expect("a file");
        }
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keelson"), bin.join("keelson-cni")).expect("a link");
        let tag = guard.tag().to_owned();
        let mut stage =
            Stage { daemon: None, image, tag, folder, registry, arguments: Vec::new(), guard: Some(guard) };
        stage.start();
        stage
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts a daemon; the last one has to be gone.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("daemon.log")).expect("a log");
        let daemon = Command::new(env!("CARGO_BIN_EXE_keelson"))
            .args(["cri", "--listen", &format!("unix://{}", self.path("cri.sock"))])
            .args(["--root", &self.path("root"), "--state", &self.path("state")])
            .args(["--cni-conf-dir", &self.path("net.d"), "--cni-bin-dir", &self.path("bin")])
            .args(["--registries", &self.path("registries"), "--keeper-cgroup", "none"])
            .args(["--cgroup-root", &format!("/keelson-{}", self.tag)])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("keelson runs");
        self.daemon = Some(daemon);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("the daemon is killed");
            daemon.wait().expect("the daemon is reaped");
        }
    }

    pub async fn connect(&self) -> Client {
        let began = Instant::now();
        let endpoint = Endpoint::try_from(format!("unix://{}", self.path("cri.sock"))).expect("an address");
        let channel = loop {
            match answered(&endpoint).await {
                Ok(channel) => break channel,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}: {}", self.log()),
            }
            // Before its first start there is no socket to wait at.
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        Client {
            runtime: RuntimeServiceClient::new(channel.clone()),
            images: ImageServiceClient::new(channel),
            image: ImageSpec { image: self.image.clone(), ..Default::default() },
            folder: self.folder.path().to_owned(),
        }
    }

    /// What the daemon has in memory.
    pub fn resident_kb(&self) -> u64 {
        let pid = self.daemon.as_ref().map(Child::id).unwrap_or_default();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default()
    }

    fn finish(mut self) {
        self.kill();
        self.kill_keeper();
        let pins = self.folder.path().join("state/ns");
        Command::new("umount").arg(&pins).stderr(Stdio::null()).status().expect("umount runs");
        let guard = self.guard.take();
        drop(self);
        if let Some(guard) = guard {
            guard.finish();
        }
    }

    fn kill_keeper(&self) {
        let lock = std::fs::read_to_string(self.path("state/keeper.lock")).unwrap_or_default();
        if let Some(pid) = lock.split_whitespace().find_map(|word| word.parse::<i32>().ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _registry = &self.registry;
        if let Some(mut daemon) = self.daemon.take() {
            let _ended = daemon.kill().and_then(|()| daemon.wait());
            self.kill_keeper();
            if std::thread::panicking() {
                eprintln!("the daemon said:\n{}", self.log());
            }
        }
    }
}

impl Client {
    pub async fn pull(&mut self) -> Result<String, Status> {
        let request = PullImageRequest { image: Some(self.image.clone()), ..Default::default() };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// A pod without a network of the host, with PID namespaces per container.
    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        let namespace_options =
            NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
        let security_context =
            LinuxSandboxSecurityContext { namespace_options: Some(namespace_options), ..Default::default() };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "e2e".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.folder.join("logs").join(name).display().to_string(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: String::new(),
                security_context: Some(security_context),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    pub async fn run(&mut self, config: &PodSandboxConfig) -> Result<String, Status> {
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    pub async fn end(&mut self, sandbox: &str) -> Result<(), Status> {
        let pod_sandbox_id = sandbox.to_owned();
        self.runtime
            .stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() })
            .await?;
        self.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await?;
        Ok(())
    }

    pub fn container(&self, name: &str, script: &str) -> ContainerConfig {
        let mut config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(self.image.clone()),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: format!("{name}.log"),
            ..Default::default()
        };
        with_pid_mode(&mut config, NamespaceMode::Container);
        config
    }

    pub async fn create(
        &mut self,
        sandbox: &str,
        pod: &PodSandboxConfig,
        config: ContainerConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(pod.clone()),
        };
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    pub async fn start(&mut self, container: &str) -> Result<(), Status> {
        let request = StartContainerRequest { container_id: container.to_owned() };
        self.runtime.start_container(request).await.map(drop)
    }

    pub async fn stop(&mut self, container: &str, timeout: i64) -> Result<(), Status> {
        let request = StopContainerRequest { container_id: container.to_owned(), timeout };
        self.runtime.stop_container(request).await.map(drop)
    }

    pub async fn status(&mut self, container: &str) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let answer = self.runtime.container_status(request).await?.into_inner();
        Ok(answer.status.unwrap_or_default())
    }

    pub async fn exec(&mut self, container: &str, script: &str) -> Result<ExecSyncResponse, Status> {
        let cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: container.to_owned(), cmd, timeout: 20 };
        Ok(self.runtime.exec_sync(request).await?.into_inner())
    }

    /// What a script in the container prints.
    pub async fn output(&mut self, container: &str, script: &str) -> String {
        let answer = self.exec(container, script).await.expect("the exec runs");
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    }

    /// The status once it has exited; waits for the event, not for time.
    pub async fn exited(&mut self, container: &str) -> ContainerStatus {
        let began = Instant::now();
        let mut events = self.events().await;
        loop {
            let status = self.status(container).await.expect("a status");
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{container} runs on");
            let _event = tokio::time::timeout(Duration::from_secs(5), events.message()).await;
        }
    }

    pub async fn events(&mut self) -> tonic::Streaming<ContainerEventResponse> {
        let answer = self.runtime.get_container_events(cri_api::v1::GetEventsRequest {}).await;
        answer.expect("events are served").into_inner()
    }

    pub fn log(&self, pod: &str, container: &str) -> String {
        let path = self.folder.join("logs").join(pod).join(format!("{container}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Waits for a line of a container's log: the program runs, and has got so far.
    pub async fn until_logged(&self, pod: &str, container: &str, line: &str) {
        let began = Instant::now();
        while !self.log(pod, container).contains(line) {
            assert!(began.elapsed() < PATIENCE, "no {line:?}: {}", self.log(pod, container));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A connection that a daemon has taken: one that was only queued may end with whoever held the socket until then.
async fn answered(endpoint: &Endpoint) -> Result<Channel, String> {
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let question = VersionRequest { version: String::new() };
    let answer = RuntimeServiceClient::new(channel.clone()).version(question).await;
    answer.map(|_| channel).map_err(|status| status.to_string())
}

pub fn with_pid_mode(config: &mut ContainerConfig, mode: NamespaceMode) {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default().pid = mode.into();
}

/// Whether the kernel maps ids of a tmpfs, without which no pod has ids of its own: Linux does since 6.3.
pub fn maps_tmpfs_or_skip(test: &str) -> bool {
    use std::os::fd::AsFd as _;
    let row = [sys::netns::IdRange { inside: 0, outside: 65_536, count: 65_536 }];
    let ids = sys::netns::id_map(&row, &row).expect("a user namespace");
    let tmpfs = sys::mount::new_filesystem("tmpfs", "tmpfs", &[], 0).expect("a tmpfs");
    let able = sys::mount::set_id_map(tmpfs.as_fd(), ids.as_fd(), false).is_ok();
    if !able {
        harness::skip(test, "the kernel cannot map ids of tmpfs (Linux 6.3)");
    }
    able
}

/// A bridge-less network of this node's own plugin, ready for pods.
pub async fn write_network(client: &mut Client, subnet: &str) {
    let folder = &client.folder;
    let text = serde_json::json!({
        "cniVersion": "1.1.0", "name": "pods", "plugins": [{
            "type": "keelson-cni", "mode": "plain",
            "ipam": {"ranges": [[{"subnet": subnet}]], "dataDir": folder.join("ipam")},
        }],
    });
    std::fs::create_dir_all(folder.join("net.d")).expect("a folder");
    std::fs::write(folder.join("net.d/10-pods.conflist"), text.to_string()).expect("a file");
    network_ready(client, true).await;
}

/// Waits until the daemon, which watches the folder of configurations, says so.
pub async fn network_ready(client: &mut Client, wanted: bool) {
    let began = Instant::now();
    loop {
        let answer =
            client.runtime.status(StatusRequest { verbose: false }).await.expect("a status").into_inner();
        let conditions = answer.status.expect("conditions").conditions;
        let network =
            conditions.iter().find(|condition| condition.r#type == "NetworkReady").expect("the network's");
        if network.status == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{network:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
