//! `keelson proxy` between a real API and real maps: connections of a node's own processes to a Service, through
//! changes of its endpoints and kills of the proxy.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datapath::{Config, Datapath, Tables};
use harness::api::{Client, Server, free_address};
use harness::host::{Guard, exclusive};
use harness::netns::TestHost;
use serde_json::{Value, json};

use crate::identity::kubeconfig;

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
/// Where cgroup2 may be.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
const NODE: &str = "192.0.2.1";
const CLUSTER_IP: &str = "10.96.0.77";

/// A node without pods: its processes are in a cgroup, the backends on another machine.
struct Node {
    proxy: Child,
    kubeconfig: String,
    healthz: SocketAddr,
    config: Config,
    cgroup: PathBuf,
    admin: Client,
    node: TestHost,
    _backends: TestHost,
    // Last but one: everything else is gone by then.
    _folder: tempfile::TempDir,
    _server: Server,
}

impl Node {
    fn start(guard: &Guard) -> Node {
        Node::start_with(guard, false)
    }

    /// With the proxy, and so the API, in the node's own network, or beside it.
    fn start_with(guard: &Guard, inside: bool) -> Node {
        let node = TestHost::create(guard.tag(), "node");
        let serve_api = || Server::start_under(guard, KEELSON, &[]);
        let server = if inside { node.inside(serve_api) } else { serve_api() };
        let backends = TestHost::create(guard.tag(), "backends");
        node.connect("eth0", &backends, "eth0");
        node.address("eth0", &format!("{NODE}/24"));
        for last in 11..15 {
            backends.address("eth0", &format!("192.0.2.{last}/24"));
            serve(&backends, last);
            answer(&backends, last);
        }
        let root = CGROUPS.iter().map(PathBuf::from).find(|root| root.join("cgroup.procs").exists());
        let cgroup = root.expect("cgroup2").join(format!("kp{}", guard.tag()));
        fs::create_dir(&cgroup).expect("a cgroup");
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            bpffs: folder.path().join("bpf"),
            cgroup: Some(cgroup.clone()),
            node_addresses: vec![NODE.parse().expect("an address")],
            service_cidrs: vec!["10.96.0.0/16".parse().expect("a range")],
            ..Config::default()
        };
        let admin = server.admin();
        let kubeconfig = kubeconfig(&server, "proxy", "system:kube-proxy");
        let healthz = free_address();
        let start = || proxy(&config, &kubeconfig, healthz);
        let proxy = if inside { node.inside(start) } else { start() };
        // The proxy waits for the data path.
        node.inside(|| Datapath::ensure(&config)).expect("a data path");
        Node {
            proxy,
            kubeconfig,
            healthz,
            config,
            cgroup,
            admin,
            node,
            _backends: backends,
            _folder: folder,
            _server: server,
        }
    }

    fn kill(&mut self) {
        self.proxy.kill().expect("SIGKILL");
        self.proxy.wait().expect("its end");
    }

    fn restart(&mut self) {
        self.proxy = proxy(&self.config, &self.kubeconfig, self.healthz);
    }

    /// Sets the backends by their last numbers.
    fn backends(&self, last: &[u8]) {
        let endpoints: Vec<Value> = last
            .iter()
            .map(|last| json!({"addresses": [format!("192.0.2.{last}")], "conditions": {"ready": true}}))
            .collect();
        let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": endpoints});
        let path = format!("{SLICES}/web-1");
        let answer = match self.admin.get(&path).code {
            200 => self.admin.put(&path, &slice),
            _ => self.admin.post(SLICES, &slice),
        };
        assert!(matches!(answer.code, 200 | 201), "{}", answer.text());
    }

    /// A process of the node that connects `count` times, `every` seconds once, and says each time who answered.
    fn caller(&self, address: &str, port: u16, count: u32, every: &str) -> Child {
        let script = format!(
            "echo $$ > {}/cgroup.procs\nfor n in $(seq {count}); do\n\
             if exec 3<>/dev/tcp/{address}/{port}; then read -r who <&3 && echo $who || echo cut; exec 3<&-; else echo refused; fi\n\
             sleep {every}; done",
            self.cgroup.display()
        );
        let mut bash = self.node.command("bash");
        bash.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        bash.spawn().expect("starting bash")
    }

    /// Who answered, how often.
    fn call(&self, address: &str, port: u16, count: u32) -> BTreeMap<String, u32> {
        answers(self.caller(address, port, count, "0"))
    }

    /// Waits until exactly these answer, or nobody.
    #[track_caller]
    fn until(&self, address: &str, port: u16, expect: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = self.call(address, port, 40);
            if last.keys().map(String::as_str).eq(expect.iter().copied()) {
                return;
            }
            assert!(Instant::now() < deadline, "{address}:{port}: {last:?}, not {expect:?}");
        }
    }

    fn finish(mut self, guard: Guard) {
        self.kill();
        datapath::unload(&self.config).expect("unloading");
        fs::remove_dir(&self.cgroup).expect("an empty cgroup");
        drop(self);
        guard.finish();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A test that fails leaves nothing that goes on; one that ends well has ended it.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// Starts the proxy, where the node is and nothing else.
fn proxy(config: &Config, kubeconfig: &str, healthz: SocketAddr) -> Child {
    Command::new(KEELSON)
        .args(["proxy", "--kubeconfig", kubeconfig, "--hostname-override", "n1"])
        .args(["--healthz-bind-address", &healthz.to_string(), "--metrics-bind-address", "127.0.0.1:0"])
        .arg("--bpffs")
        .arg(&config.bpffs)
        .env("KEELSON_LOG", "info,proxy=debug")
        .stdin(Stdio::null())
        .spawn()
        .expect("starting keelson proxy")
}

/// Answers every connection to one address with its last number, for as long as the test runs.
fn serve(host: &TestHost, last: u8) {
    let address = IpAddr::from([192, 0, 2, last]);
    let listener = host.inside(|| TcpListener::bind((address, 8080))).expect("a listener");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = writeln!(stream, "{last}");
        }
    });
}

/// The same for datagrams.
fn answer(host: &TestHost, last: u8) {
    let address = IpAddr::from([192, 0, 2, last]);
    let socket = host.inside(|| UdpSocket::bind((address, 8080))).expect("a socket");
    std::thread::spawn(move || {
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
            let _ = socket.send_to(format!("{last}\n").as_bytes(), peer);
        }
    });
}

fn answers(caller: Child) -> BTreeMap<String, u32> {
    let output = caller.wait_with_output().expect("the caller's end");
    let mut answers = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        *answers.entry(line.to_owned()).or_default() += 1;
    }
    answers
}

#[test]
fn proxy_carries_a_service_through_changes_and_kills() {
    if !harness::root_or_skip("proxy_carries_a_service_through_changes_and_kills") {
        return;
    }
    let guard = exclusive("proxy_carries_a_service_through_changes_and_kills");
    let mut node = Node::start(&guard);
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "clusterIP": CLUSTER_IP,
        "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]}});
    let made = node.admin.post(SERVICES, &service);
    assert_eq!(made.code, 201, "{}", made.text());
    node.until(CLUSTER_IP, 80, &["refused"]);
    node.backends(&[11, 12, 13, 14]);
    node.until(CLUSTER_IP, 80, &["11", "12", "13", "14"]);
    node.until(NODE, 30080, &["11", "12", "13", "14"]);
    let shares = node.call(CLUSTER_IP, 80, 1_000);
    assert!(
        shares.values().all(|count| (150..=350).contains(count)),
        "15 to 35 of a hundred each: {shares:?}"
    );

    // Connections go on while backends come and go, and while the proxy is killed and starts again.
    let caller = node.caller(CLUSTER_IP, 80, 300, "0.01");
    for backends in [&[11_u8, 12][..], &[12, 13, 14], &[13], &[11, 13, 14]] {
        node.backends(backends);
        std::thread::sleep(Duration::from_millis(200));
        node.kill();
        node.restart();
    }
    let through = answers(caller);
    assert_eq!(through.values().sum::<u32>(), 300, "{through:?}");
    assert!(!through.contains_key("refused") && !through.contains_key("cut"), "{through:?}");

    // What changes while there is no proxy is right soon after its start; what is there stays until then.
    node.until(CLUSTER_IP, 80, &["11", "13", "14"]);
    node.kill();
    node.backends(&[14]);
    assert_eq!(node.call(CLUSTER_IP, 80, 100).len(), 3);
    node.restart();
    node.until(CLUSTER_IP, 80, &["14"]);

    node.backends(&[11, 12, 13, 14]);
    let sticky = json!({"spec": {"sessionAffinity": "ClientIP"}});
    assert_eq!(node.admin.patch(&format!("{SERVICES}/web"), "merge", &sticky).code, 200);
    let deadline = Instant::now() + PATIENCE;
    while node.call(CLUSTER_IP, 80, 40).len() != 1 {
        assert!(Instant::now() < deadline, "one client, one backend");
    }
    node.backends(&[]);
    node.until(CLUSTER_IP, 80, &["refused"]);

    let health = Command::new("curl").args(["-s", &format!("http://{}/healthz", node.healthz)]).output();
    if let Ok(health) = health {
        let health: Value = serde_json::from_slice(&health.stdout).expect("JSON");
        assert_eq!(health["nodeEligible"], true, "{health}");
    }
    assert_eq!(node.admin.delete(&format!("{SERVICES}/web")).code, 200);
    let tables = Tables::open(&node.config).expect("the maps");
    let of_web = |tables: &Tables| {
        let services = tables.services().and_then(|services| services.observed()).expect("frontends");
        services.iter().filter(|(frontend, _)| matches!(frontend.port, 80 | 30080)).count()
    };
    let deadline = Instant::now() + PATIENCE;
    while of_web(&tables) > 0 {
        assert!(Instant::now() < deadline, "its frontends go");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(tables);
    node.finish(guard);
}

/// Where connections from outside to an address lead.
fn from_outside(tables: &Tables, address: &str) -> Vec<String> {
    let sets = tables.backends().and_then(|backends| backends.observed()).expect("sets");
    let services = tables.services().and_then(|services| services.observed()).expect("frontends");
    let wanted: IpAddr = address.parse().expect("an address");
    let mut led: Vec<String> = services
        .iter()
        .filter(|(frontend, _)| frontend.address == wanted && frontend.scope == datapath::Scope::External)
        .filter_map(|(_, service)| sets.get(&service.set?))
        .flatten()
        .map(ToString::to_string)
        .collect();
    led.sort();
    led
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn proxy_follows_traffic_policies() {
    if !harness::root_or_skip("proxy_follows_traffic_policies") {
        return;
    }
    let guard = exclusive("proxy_follows_traffic_policies");
    let node = Node::start(&guard);
    let ports = json!([{"name": "web", "port": 80, "targetPort": 8080},
        {"name": "odd", "port": 81, "protocol": "SCTP"}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer", "clusterIP": CLUSTER_IP,
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 31999, "ports": ports}});
    let made = node.admin.post(SERVICES, &service);
    assert_eq!(made.code, 201, "{}", made.text());
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}]}}});
    let patched = node.admin.patch(&format!("{SERVICES}/web/status"), "merge", &status);
    assert_eq!(patched.code, 200, "{}", patched.text());
    let endpoint = |last: u8, host: &str, ready: bool, ending: bool| {
        json!({"addresses": [format!("192.0.2.{last}")], "nodeName": host,
            "conditions": {"ready": ready, "serving": ready || ending, "terminating": ending}})
    };
    let slice = |here_is_ready: bool| {
        json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 8080}],
            "endpoints": [endpoint(11, "n1", here_is_ready, false), endpoint(12, "n2", true, false),
                endpoint(13, "n1", false, true)]})
    };
    let made = node.admin.post(SLICES, &slice(true));
    assert_eq!(made.code, 201, "{}", made.text());
    let tables = Tables::open(&node.config).expect("the maps");
    eventually("what is ready here", || from_outside(&tables, "198.51.100.9") == ["192.0.2.11:8080"]);
    // From inside every ready one answers, under the outside address too.
    node.until(CLUSTER_IP, 80, &["11", "12"]);
    node.until("198.51.100.9", 80, &["11", "12"]);
    let asked = |expect: &str| {
        let output = Command::new("curl").args(["-si", "http://127.0.0.1:31999/"]).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).contains(expect)
    };
    eventually("a load balancer hears of one endpoint", || asked("\"localEndpoints\": 1"));
    // None is ready here: the one that ends serves until then, and load balancers go elsewhere.
    assert_eq!(node.admin.put(&format!("{SLICES}/web-1"), &slice(false)).code, 200);
    eventually("what ends here", || from_outside(&tables, "198.51.100.9") == ["192.0.2.13:8080"]);
    eventually("load balancers go elsewhere", || asked("503 Service Unavailable"));
    node.until(CLUSTER_IP, 80, &["12"]);
    eventually("SCTP is refused in an event", || {
        node.admin.get("/api/v1/namespaces/default/events").text().contains("protocol SCTP is not supported")
    });
    assert_eq!(node.admin.delete(&format!("{SERVICES}/web")).code, 200);
    eventually("nobody is told any more", || !asked("HTTP"));
    drop(tables);
    node.finish(guard);
}

#[test]
fn a_connected_datagram_socket_leaves_a_backend_that_is_gone() {
    const TEST: &str = "a_connected_datagram_socket_leaves_a_backend_that_is_gone";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = exclusive(TEST);
    // It looks for sockets of the network in which it runs.
    let node = Node::start_with(&guard, true);
    let service = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": CLUSTER_IP,
        "ports": [{"port": 53, "targetPort": 8080, "protocol": "UDP"}]}});
    let made = node.node.inside(|| node.admin.post(SERVICES, &service));
    assert_eq!(made.code, 201, "{}", made.text());
    node.datagrams_to(&[11, 12]);
    // One socket to the Service and one to a backend itself, both connected: resolvers do that.
    let mut through = node.connected(CLUSTER_IP, 53);
    eventually("the Service answers", || {
        through = node.connected(CLUSTER_IP, 53);
        through.as_ref().is_ok_and(|socket| asked(socket).is_ok())
    });
    let through = through.expect("a socket");
    let directly = node.connected("192.0.2.11", 8080).expect("a socket");
    let first = asked(&through).expect("an answer");
    assert!(first == "11" || first == "12", "{first}");
    let (gone, other) = if first == "11" { (11, 12) } else { (12, 11) };
    node.datagrams_to(&[other]);
    // Its owner is told, connects anew, and never hears of the old one again.
    eventually("the socket is ended", || match asked(&through) {
        Ok(who) => {
            assert_eq!(who, first);
            false
        }
        Err(error) => {
            // Whoever waits for an answer hears the one, whoever asks the other.
            let told = [rustix::io::Errno::CONNABORTED, rustix::io::Errno::DESTADDRREQ]
                .map(|one| one.raw_os_error());
            assert!(error.raw_os_error().is_some_and(|number| told.contains(&number)), "{error}");
            true
        }
    });
    // What has not been heard yet is no answer to what is asked next: an error, and an answer that came before it.
    through.take_error().expect("the socket's error");
    through.set_nonblocking(true).expect("a socket");
    while through.recv(&mut [0; 64]).is_ok() {}
    through.set_nonblocking(false).expect("a socket");
    node.node.inside(|| through.connect((CLUSTER_IP, 53))).expect("connecting anew");
    for _ in 0..10 {
        assert_eq!(asked(&through).expect("an answer"), other.to_string(), "not {gone}");
    }
    // Who asked for the address itself is left alone.
    node.datagrams_to(&[12]);
    node.datagrams_to(&[]);
    eventually("nobody is there", || node.connected(CLUSTER_IP, 53).is_err());
    for _ in 0..10 {
        assert_eq!(asked(&directly).expect("an answer"), "11");
    }
    drop((through, directly));
    node.finish(guard);
}

/// One question on a connected socket.
fn asked(socket: &UdpSocket) -> std::io::Result<String> {
    socket.send(b"q")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
}

impl Node {
    /// Sets the backends of the Service's datagrams by their last numbers.
    fn datagrams_to(&self, last: &[u8]) {
        let endpoints: Vec<Value> =
            last.iter().map(|last| json!({"addresses": [format!("192.0.2.{last}")]})).collect();
        let slice = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "UDP"}], "endpoints": endpoints});
        let path = format!("{SLICES}/web-1");
        let answer = self.node.inside(|| match self.admin.get(&path).code {
            200 => self.admin.put(&path, &slice),
            _ => self.admin.post(SLICES, &slice),
        });
        assert!(matches!(answer.code, 200 | 201), "{}", answer.text());
    }

    /// A socket of a process of the node, connected. It is of the cgroup in which its maker was.
    fn connected(&self, address: &str, port: u16) -> std::io::Result<UdpSocket> {
        let table = fs::read_to_string("/proc/self/cgroup")?;
        let here = table.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let root = self.cgroup.parent().expect("the root");
        let enter =
            |group: &std::path::Path| fs::write(group.join("cgroup.procs"), std::process::id().to_string());
        enter(&self.cgroup)?;
        let socket = self.node.inside(|| UdpSocket::bind(("0.0.0.0", 0)));
        enter(&root.join(here))?;
        let socket = socket?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        self.node.inside(|| socket.connect((address, port)))?;
        Ok(socket)
    }
}
