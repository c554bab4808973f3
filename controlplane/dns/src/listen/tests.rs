//! Real queries over real sockets, to a server whose upstream is real too.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Cache, Client, Config, Object, Resource, Surroundings};
use harness::api::free_address;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::forward::{Forwarder, Upstreams};
use crate::sources::Sources;
use crate::zone::{self, Zone};

/// How long a reply may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers of a name that begins with `big`.
const MANY: u8 = 100;

/// Answers every name with one address, `big...` with many, `silent...` not at all, `old...` only without EDNS.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Upstream {
    async fn start() -> Upstream {
        let address = free_address();
        let tcp = TcpListener::bind(address).await.unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let datagrams = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
                counting.fetch_add(1, Ordering::Relaxed);
                if let Some(reply) = upstream_reply(&buffer[..length], true) {
                    // A forged reply first: another id.
                    let mut forged = reply.clone();
                    forged[0] ^= 0xff;
                    udp.send_to(&forged, from).await.unwrap();
                    udp.send_to(&reply, from).await.unwrap();
                }
            }
        });
        let streams = tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut query).await.unwrap();
                let reply = upstream_reply(&query, false).unwrap();
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        Upstream { address, asked, tasks: vec![datagrams, streams] }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn upstream_reply(query: &[u8], cut: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.queries.clone_from(&query.queries);
    let name = query.queries[0].name.clone();
    let text = name.to_string();
    if text.starts_with("silent") {
        return None;
    }
    let count = if text.starts_with("big") { MANY } else { 1 };
    if count > 1 && cut {
        reply.metadata.truncation = true;
    } else if text.starts_with("old") && query.edns.is_some() {
        reply.metadata.response_code = ResponseCode::FormErr;
    } else if text.starts_with("missing") {
        reply.metadata.response_code = ResponseCode::NXDomain;
    } else {
        for last in 0..count {
            let mut record = zone::address(name.clone(), IpAddr::from([192, 0, 2, last]));
            record.ttl = 60;
            reply.answers.push(record);
        }
    }
    Some(reply.to_vec().unwrap())
}

/// A client that nobody answers: for caches that never follow anything.
fn nobody(folder: &Path) -> Client {
    let path = folder.join("kubeconfig");
    let authority = pki::Authority::create("nobody", 0).unwrap();
    std::fs::write(folder.join("ca.crt"), authority.certificate_pem()).unwrap();
    let text = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: ca.crt}}]\n\
                contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n\
                users: [{name: u, user: {token: t}}]\n";
    std::fs::write(&path, text).unwrap();
    Client::new(Config::read(&path).unwrap(), "test", Surroundings::system()).unwrap()
}

/// A server and what it stands on.
struct Running {
    address: SocketAddr,
    stopping: CancellationToken,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Without `objects` the caches never become complete.
    async fn start(upstreams: Vec<SocketAddr>, objects: Option<Vec<Value>>) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let client = nobody(folder.path());
        let cache = |resource: Resource| match &objects {
            None => Cache::start(client.clone(), resource, client::Selection::default()),
            Some(objects) => {
                let own = objects.iter().filter(|object| object["kind"] == *resource.kind);
                let own = own.map(|object| Object::of(&resource, object.clone())).collect();
                Cache::fixed(client.clone(), resource, own)
            }
        };
        let zone = Zone::new(&Name::from_ascii("cluster.local").unwrap(), true);
        let forwarder = Forwarder::new(Upstreams::Given(upstreams.into()), client.surroundings().random);
        let (services, slices) = (cache(Resource::SERVICES), cache(Resource::ENDPOINT_SLICES));
        let dns = Arc::new(Dns::new(zone, Sources::new(&[]), services, slices, forwarder));
        let sockets = Sockets::bind(free_address()).await.unwrap();
        let (address, stopping) = (sockets.address, CancellationToken::new());
        let serving = tokio::spawn(sockets.serve(dns, stopping.clone()));
        Running { address, stopping, serving, _folder: folder }
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.serving.await.unwrap();
    }

    async fn udp(&self, name: &str, kind: RecordType, edns: Option<u16>) -> Message {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(&question(name, kind, edns)).await.unwrap();
        let mut buffer = [0; 65_535];
        let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
        assert!(length <= edns.unwrap_or(512).into(), "{length} bytes");
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// Several questions over one connection, sent before any is answered.
    async fn tcp(&self, names: &[&str], kind: RecordType) -> Vec<Message> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for name in names {
            let query = question(name, kind, None);
            stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
            stream.write_all(&query).await.unwrap();
        }
        let mut replies = Vec::new();
        for _ in names {
            let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
            let mut reply = vec![0; length.into()];
            stream.read_exact(&mut reply).await.unwrap();
            replies.push(Message::from_vec(&reply).unwrap());
        }
        replies
    }
}

fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.edns = edns.map(|payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns
    });
    message.to_vec().unwrap()
}

fn objects() -> Vec<Value> {
    let service = |name: &str, spec: Value| json!({"kind": "Service", "metadata": {"namespace": "default", "name": name}, "spec": spec});
    let endpoints: Vec<Value> = (1..=100)
        .map(|last| json!({"addresses": [format!("10.1.0.{last}")], "conditions": {"ready": true}}))
        .collect();
    vec![
        service("web", json!({"clusterIP": "10.96.0.20"})),
        service("away", json!({"type": "ExternalName", "externalName": "www.example.test"})),
        service("crowd", json!({"clusterIP": "None"})),
        json!({"kind": "EndpointSlice", "endpoints": endpoints, "metadata": {"namespace": "default",
            "name": "crowd-1", "labels": {"kubernetes.io/service-name": "crowd"}}}),
    ]
}

fn shown(reply: &Message) -> String {
    let records: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    format!("{} {}", reply.metadata.response_code, records.join(" "))
}

#[tokio::test]
async fn over_udp_and_tcp() {
    let upstream = Upstream::start().await;
    let server = Running::start(vec![upstream.address], Some(objects())).await;
    let own = server.udp("Web.default.svc.cluster.local.", RecordType::A, Some(1232)).await;
    assert_eq!(shown(&own), "No Error 10.96.0.20");
    assert!(own.metadata.authoritative && own.metadata.recursion_available && own.edns.is_some());
    assert_eq!(own.answers[0].name.to_string(), "Web.default.svc.cluster.local.", "as it was asked");
    let missing = server.udp("no.default.svc.cluster.local.", RecordType::A, None).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert!(matches!(missing.authorities[0].data, RData::SOA(_)));
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 0, "the cluster's names stay here");

    let away = server.udp("away.default.svc.cluster.local.", RecordType::A, None).await;
    assert_eq!(shown(&away), "No Error www.example.test. 192.0.2.0");
    // Kept, in whatever case it is asked.
    let kept = server.udp("WWW.example.test.", RecordType::A, None).await;
    assert_eq!((shown(&kept).as_str(), kept.metadata.authoritative), ("No Error 192.0.2.0", false));
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 1);
    let denied = server.udp("missing.example.test.", RecordType::A, None).await;
    assert_eq!(denied.metadata.response_code, ResponseCode::NXDomain);

    for name in ["crowd.default.svc.cluster.local.", "big.example.test."] {
        let cut = server.udp(name, RecordType::A, Some(1232)).await;
        assert!(cut.metadata.truncation && cut.answers.len() < 100 && cut.edns.is_some(), "{name}");
        let [whole, again] = &server.tcp(&[name, name], RecordType::A).await[..] else { panic!() };
        assert!(!whole.metadata.truncation && whole.answers.len() == 100, "{name}");
        assert_eq!(again.answers.len(), 100);
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_denied_before_it_is_known() {
    let upstream = Upstream::start().await;
    let server = Running::start(vec![upstream.address], None).await;
    for name in ["web.default.svc.cluster.local.", "no.default.svc.cluster.local.", "1.0.0.10.in-addr.arpa."]
    {
        let reply = server.udp(name, RecordType::A, None).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail, "{name}");
    }
    let foreign = server.udp("www.example.test.", RecordType::A, None).await;
    assert_eq!(shown(&foreign), "No Error 192.0.2.0");
    server.stop().await;
}

#[tokio::test]
async fn upstreams_that_fail() {
    let upstream = Upstream::start().await;
    // Nobody listens at the first: it refuses, and is not asked first again.
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let server = Running::start(vec![gone, upstream.address], Some(objects())).await;
    for name in ["www.example.test.", "www2.example.test.", "old.example.test."] {
        assert_eq!(shown(&server.udp(name, RecordType::A, None).await), "No Error 192.0.2.0");
    }
    let silent = server.udp("silent.example.test.", RecordType::A, None).await;
    assert_eq!(silent.metadata.response_code, ResponseCode::ServFail);
    server.stop().await;
    let alone = Running::start(vec![], Some(objects())).await;
    let reply = alone.udp("www.example.test.", RecordType::A, None).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let [own] = &alone.tcp(&["web.default.svc.cluster.local."], RecordType::A).await[..] else { panic!() };
    assert_eq!(shown(own), "No Error 10.96.0.20");
    alone.stop().await;
}
