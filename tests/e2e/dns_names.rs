//! `keelson dns` beside `keelson apiserver`: names of the cluster over real UDP and TCP, with the rights of its own role.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::api::{Client, Server, free_address};
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use crate::identity::kubeconfig;

/// How long a change may take to show on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const KUBE_SYSTEM: &str = "/api/v1/namespaces/kube-system";

/// A DNS server of a cluster that has nothing else but the API.
struct Names {
    dns: Child,
    address: SocketAddr,
    health: SocketAddr,
    admin: Client,
    server: Server,
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.dns.kill();
        let _ = self.dns.wait();
    }
}

impl Names {
    fn start() -> Names {
        let server = Server::start(KEELSON);
        let admin = server.admin();
        let address = free_address();
        let health = free_address();
        let kubeconfig = kubeconfig(&server, "dns", "system:kube-dns");
        let mut dns = Command::new(KEELSON)
            .args(["dns", "--kubeconfig", &kubeconfig])
            .args(["--listen", &address.to_string(), "--health-address", &health.to_string()])
            .args(["--upstream", "127.0.0.1:1", "--publish-service"])
            .args(["--node-ip", "192.0.2.7", "--hostname-override", "n1"])
            .env("KEELSON_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting keelson dns");
        let said = dns.stderr.take().expect("its standard error");
        let (known, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                eprintln!("dns: {line}");
                if line.contains("are known") {
                    let _ = known.send(());
                }
            }
        });
        wait.recv_timeout(PATIENCE).expect("its caches are complete");
        Names { dns, address, health, admin, server }
    }

    fn make(&self, path: &str, object: &Value) {
        let answer = self.admin.post(path, object);
        assert_eq!(answer.code, 201, "{}", answer.text());
    }

    fn ask(&self, name: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.send_to(&question(name, kind), self.address).expect("sending");
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("a reply");
        Message::from_vec(&buffer[..length]).expect("a message")
    }

    fn ask_over_tcp(&self, name: &str, kind: RecordType) -> Message {
        let mut stream = TcpStream::connect(self.address).expect("connecting");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let question = question(name, kind);
        let length = u16::try_from(question.len()).expect("a short question");
        stream.write_all(&length.to_be_bytes()).and_then(|()| stream.write_all(&question)).expect("sending");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a reply");
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).expect("a reply");
        Message::from_vec(&reply).expect("a message")
    }

    /// The answer's records in order, or the code where there is none.
    #[track_caller]
    fn check(&self, name: &str, kind: RecordType, expect: &str) {
        assert_eq!(shown(&self.ask(name, kind)), expect, "{name} {kind} over UDP");
        assert_eq!(shown(&self.ask_over_tcp(name, kind)), expect, "{name} {kind} over TCP");
    }

    /// Waits until a name is answered like this.
    #[track_caller]
    fn until(&self, name: &str, kind: RecordType, expect: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = shown(&self.ask(name, kind));
            if last == expect {
                return;
            }
            assert!(Instant::now() < deadline, "{name} {kind}: {last}, not {expect}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn health(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.health).expect("its health address");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asking");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(17, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message.to_vec().expect("a question")
}

fn shown(reply: &Message) -> String {
    let mut records: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    records.sort();
    match (reply.metadata.response_code, records.is_empty()) {
        (ResponseCode::NoError, true) => "NODATA".into(),
        (ResponseCode::NoError, false) => records.join(" "),
        (code, _) => format!("{code:?}"),
    }
}

fn endpoint(address: &str, hostname: &str) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}, "hostname": hostname})
}

#[test]
fn dns_answers_the_cluster() {
    let names = Names::start();
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let ports = json!([{"name": "http", "port": 80}]);
    names.make(SERVICES, &service("web", json!({"clusterIP": "10.96.0.77", "ports": ports})));
    names.make(SERVICES, &service("pets", json!({"clusterIP": "None", "ports": ports})));
    names.make(
        SERVICES,
        &service("away", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})),
    );
    let slice = json!({"metadata": {"name": "pets-1", "labels": {"kubernetes.io/service-name": "pets"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [endpoint("10.244.0.5", "cat"), endpoint("10.244.0.6", "dog")]});
    names.make(SLICES, &slice);
    names.until("pets.default.svc.cluster.local.", RecordType::A, "10.244.0.5 10.244.0.6");

    names.until("kubernetes.default.svc.cluster.local.", RecordType::A, "10.96.0.1");
    names.check("web.default.svc.cluster.local.", RecordType::A, "10.96.0.77");
    names.check("web.default.svc.cluster.local.", RecordType::AAAA, "NODATA");
    names.check("web.default.svc.cluster.local.default.svc.cluster.local.", RecordType::A, "NXDomain");
    names.check("cat.pets.default.svc.cluster.local.", RecordType::A, "10.244.0.5");
    // Services and slices are heard of one beside the other.
    names.until(
        "away.default.svc.cluster.local.",
        RecordType::A,
        "10.96.0.77 web.default.svc.cluster.local.",
    );
    names.check(
        "_http._tcp.pets.default.svc.cluster.local.",
        RecordType::SRV,
        "0 50 8080 cat.pets.default.svc.cluster.local. 0 50 8080 dog.pets.default.svc.cluster.local.",
    );
    names.check("77.0.96.10.in-addr.arpa.", RecordType::PTR, "web.default.svc.cluster.local.");
    names.check("5.0.244.10.in-addr.arpa.", RecordType::PTR, "cat.pets.default.svc.cluster.local.");
    names.check("10-244-0-9.default.pod.cluster.local.", RecordType::A, "10.244.0.9");
    names.check("www.example.com.", RecordType::A, "ServFail");

    // A pod goes: its names go.
    let mut less = slice;
    less["endpoints"] = json!([endpoint("10.244.0.6", "dog")]);
    let answer = names.admin.put(&format!("{SLICES}/pets-1"), &less);
    assert_eq!(answer.code, 200, "{}", answer.text());
    names.until("cat.pets.default.svc.cluster.local.", RecordType::A, "NXDomain");
    assert!(names.health("/ready").starts_with("HTTP/1.1 200"));
    assert!(names.health("/metrics").contains("keelson_dns_requests_total{proto=\"udp\"}"));
}

#[test]
fn dns_publishes_itself_and_outlives_the_api() {
    let mut names = Names::start();
    names.until("kube-dns.kube-system.svc.cluster.local.", RecordType::A, "10.96.0.10");
    names.check("10.0.96.10.in-addr.arpa.", RecordType::PTR, "kube-dns.kube-system.svc.cluster.local.");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
    let path = format!("{slices}/kube-dns-n1");
    let own = |names: &Names| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = names.admin.get(&path);
            if answer.code == 200 {
                return answer.json();
            }
            assert!(Instant::now() < deadline, "{}", answer.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let first = own(&names);
    assert_eq!(first["endpoints"][0]["addresses"][0], "192.0.2.7");
    assert_eq!(first["endpoints"][0]["nodeName"], "n1");
    // Somebody deletes it: it comes back.
    assert_eq!(names.admin.delete(&path).code, 200);
    assert_ne!(own(&names)["metadata"]["uid"], first["metadata"]["uid"]);
    let service = names.admin.get(&format!("{KUBE_SYSTEM}/services/kube-dns")).json();
    assert_eq!(service["spec"]["internalTrafficPolicy"], "Local");
    names.until("kubernetes.default.svc.cluster.local.", RecordType::A, "10.96.0.1");

    names.server.kill();
    names.check("kubernetes.default.svc.cluster.local.", RecordType::A, "10.96.0.1");
    names.server.restart();
    names.make(
        SERVICES,
        &json!({"metadata": {"name": "late"}, "spec": {"clusterIP": "10.96.0.88", "ports": [{"port": 1}]}}),
    );
    names.until("late.default.svc.cluster.local.", RecordType::A, "10.96.0.88");
    let pid = i32::try_from(names.dns.id()).expect("a PID");
    let pid = rustix::process::Pid::from_raw(pid).expect("a PID");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("asking it to stop");
    assert!(names.dns.wait().expect("its end").success());
}
