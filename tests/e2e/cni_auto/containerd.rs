//! Debian's containerd asks the plugin, as it asks any, by the file that the agent wrote: pods of its CRI, and real packets.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StatusRequest, StopPodSandboxRequest,
};
use harness::containerd;
use harness::host::Guard;
use harness::netns::within;
use harness::registry::{Debian, Login, debian};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use super::{KEELSON, Node, PATIENCE};

const PORT: u16 = 8_080;
const SERVICE: &str = "10.96.0.80";
/// How long a packet that is dropped is waited for.
const SILENCE: Duration = Duration::from_millis(300);
/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(20);

type Runtime = RuntimeServiceClient<Channel>;

/// containerd and the proxy in the node's network, and the registry that containerd gets its pause from.
struct Daemons {
    children: Vec<Child>,
    cgroup: String,
    _registry: Debian,
}

/// A sandbox of containerd's.
struct Sandbox {
    id: String,
    address: IpAddr,
    network: File,
}

impl Daemons {
    /// None where there is no registry to run.
    fn start(node: &Node, guard: &Guard) -> Option<Daemons> {
        let folder = node.folder.path();
        std::fs::create_dir(folder.join("bin")).expect("a folder");
        std::os::unix::fs::symlink(KEELSON, folder.join("bin/keelson-cni")).expect("a link");
        let (registry, pause) = node.host.inside(|| {
            let registry = debian(Login::None)?;
            let pause = containerd::push_pause(&registry);
            Some((registry, pause))
        })?;
        let hosts = folder.join("registries").join(&registry.address);
        std::fs::create_dir_all(&hosts).expect("a folder");
        let text = format!("server = \"http://{}\"\n", registry.address);
        std::fs::write(hosts.join("hosts.toml"), text).expect("a file");
        containerd::prepare(folder, &pause, &[]);
        let kubeconfig = node.server.as_ref().expect("the API").kubeconfig().display().to_string();
        let mut proxy = Command::new(KEELSON);
        proxy.args(["proxy", "--kubeconfig", &kubeconfig, "--hostname-override", "n"]);
        proxy.args(["--instance", guard.tag(), "--bpffs"]).arg(folder.join("bpf"));
        let children = [("containerd.log", containerd::command(folder)), ("proxy.log", proxy)].map(
            |(log, mut command)| {
                let log = File::create(folder.join(log)).expect("a log");
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
                node.host.inside(|| command.spawn()).expect("it runs")
            },
        );
        let cgroup = format!("keelson-{}", guard.tag());
        Some(Daemons { children: children.into(), cgroup, _registry: registry })
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ended = child.kill().and_then(|()| child.wait());
        }
        harness::node::remove_cgroups(&self.cgroup);
    }
}

/// Waits until containerd has read what the agent wrote.
async fn connect(node: &Node) -> Runtime {
    let begun = std::time::Instant::now();
    let endpoint = format!("unix://{}", node.folder.path().join("cri.sock").display());
    let endpoint = Endpoint::try_from(endpoint).expect("an address");
    loop {
        if let Ok(channel) = endpoint.connect().await {
            let mut runtime = Runtime::new(channel);
            if let Ok(answer) = runtime.status(StatusRequest { verbose: false }).await {
                let conditions = answer.into_inner().status.unwrap_or_default().conditions;
                if conditions.iter().all(|condition| condition.status) {
                    return runtime;
                }
            }
        }
        let said = || std::fs::read_to_string(node.folder.path().join("containerd.log")).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "containerd is not ready: {}", said());
        tokio::time::sleep(super::LOOK).await;
    }
}

/// A pod of the API's, run by containerd.
async fn run(node: &Node, runtime: &mut Runtime, name: &str) -> Sandbox {
    let (namespace, uid) = node.known[name].clone();
    let own = NamespaceOption { pid: NamespaceMode::Container.into(), ..Default::default() };
    let context = LinuxSandboxSecurityContext { namespace_options: Some(own), ..Default::default() };
    let config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata { name: name.to_owned(), uid, namespace, attempt: 0 }),
        hostname: name.to_owned(),
        log_directory: node.folder.path().join("logs").join(name).display().to_string(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/keelson-{}/{name}", node.tag),
            security_context: Some(context),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
    let answer = runtime.run_pod_sandbox(request).await;
    let id = answer.unwrap_or_else(|status| panic!("RunPodSandbox: {status}\n{}", node.log()));
    let id = id.into_inner().pod_sandbox_id;
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: true };
    let status = runtime.pod_sandbox_status(request).await.expect("a status").into_inner();
    let told: serde_json::Value = serde_json::from_str(&status.info["info"]).expect("JSON");
    let address = status.status.and_then(|status| status.network).expect("a network").ip;
    let network = File::open(format!("/proc/{}/ns/net", told["pid"])).expect("the network of a process");
    Sandbox { id, address: address.parse().expect("an address"), network }
}

/// Answers whoever connects with the address that it sees, for as long as the network is there.
fn serve(sandbox: &Sandbox) -> TcpListener {
    let listener =
        within(&sandbox.network, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).expect("a listener");
    let accepting = listener.try_clone().expect("a listener");
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = accepting.accept() {
            let _ = std::io::Write::write_all(&mut stream, peer.ip().to_string().as_bytes());
        }
    });
    listener
}

fn ask(sandbox: &Sandbox, to: (IpAddr, u16), wait: Duration) -> Option<IpAddr> {
    let mut stream = within(&sandbox.network, || TcpStream::connect_timeout(&to.into(), wait)).ok()?;
    stream.set_read_timeout(Some(wait)).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    said.parse().ok()
}

fn publish(node: &Node, backend: IpAddr) {
    node.admin(|admin| {
        let spec = json!({"clusterIP": SERVICE, "ports": [{"port": 80, "targetPort": PORT}]});
        let service = json!({"metadata": {"name": "web"}, "spec": spec});
        admin.post("/api/v1/namespaces/default/services", &service).expect(201);
        let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [backend.to_string()], "conditions": {"ready": true}}]});
        admin.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).expect(201);
    });
}

#[test]
fn pods_of_containerd_are_connected_and_isolated() {
    let test = "cni_auto::pods_of_containerd_are_connected_and_isolated";
    if !harness::root_or_skip(test) {
        return;
    }
    if !containerd::is_installed() {
        return harness::skip(test, "containerd, runc and containernetworking-plugins are not all installed");
    }
    if harness::image::busybox().is_none() {
        return harness::skip(test, "no busybox-static");
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    let Some(daemons) = Daemons::start(&node, &guard) else {
        node.end(guard);
        return harness::skip(test, "no docker-registry");
    };
    node.namespace("default", &json!({}));
    for (name, role) in [("web", "server"), ("friend", "friend"), ("other", "other")] {
        node.object("default", name, &json!({"role": role}));
    }
    let looper = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut runtime = looper.block_on(connect(&node));
    let mut bring = |name: &str| looper.block_on(run(&node, &mut runtime, name));
    let [web, friend, other] = ["web", "friend", "other"].map(&mut bring);
    let listener = serve(&web);
    publish(&node, web.address);
    let service: (IpAddr, u16) = (SERVICE.parse().expect("an address"), 80);
    for client in [&friend, &other] {
        assert_eq!(ask(client, (web.address, PORT), ANSWER), Some(client.address), "pod to pod");
        node.until("the Service is in the maps", || ask(client, service, ANSWER) == Some(client.address));
    }
    let from_node =
        node.host.inside(|| TcpStream::connect_timeout(&SocketAddr::from((web.address, PORT)), ANSWER));
    drop(from_node.expect("the node reaches its pods"));

    let allowed = json!({"podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}]});
    node.policy("friends", &allowed);
    node.until("the policy holds", || ask(&other, (web.address, PORT), SILENCE).is_none());
    node.until("by the Service, too", || ask(&other, service, SILENCE).is_none());
    for to in [(web.address, PORT), service] {
        assert_eq!(ask(&friend, to, ANSWER), Some(friend.address), "whom it lets through: {to:?}");
    }
    node.no_policy("friends");
    node.until("the policy is gone", || ask(&other, (web.address, PORT), ANSWER).is_some());

    // Wakes who accepts.
    let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
    for Sandbox { id, .. } in [web, friend, other] {
        looper.block_on(async {
            let stop = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            runtime.stop_pod_sandbox(stop).await.expect("StopPodSandbox");
            runtime
                .remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id })
                .await
                .expect("RemovePodSandbox");
        });
    }
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop(daemons);
    node.end(guard);
}
