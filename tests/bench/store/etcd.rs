//! Debian's etcd: started, and asked over gRPC.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use super::{CONNECTIONS, Load, pair};

/// How long a cluster may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// etcdserverpb.PutRequest, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

struct Cluster {
    children: Vec<Child>,
    clients: Vec<u16>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    fn start(members: usize) -> std::io::Result<Cluster> {
        let folder = tempfile::tempdir()?;
        let free =
            || Ok::<u16, std::io::Error>(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let ports: Vec<(u16, u16)> =
            (0..members).map(|_| Ok((free()?, free()?))).collect::<std::io::Result<_>>()?;
        let all: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(at, (_, peer))| format!("e{at}=http://127.0.0.1:{peer}"))
            .collect();
        let mut children = Vec::new();
        for (at, (client, peer)) in ports.iter().enumerate() {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let child = Command::new("etcd")
                .args(["--name", &format!("e{at}"), "--initial-cluster", &all.join(",")])
                .arg("--data-dir")
                .arg(folder.path().join(format!("e{at}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            children.push(child);
        }
        Ok(Cluster { children, clients: ports.iter().map(|(client, _)| *client).collect(), _folder: folder })
    }

    async fn connections(&self) -> Vec<Channel> {
        let mut channels = Vec::new();
        for at in 0..CONNECTIONS {
            let port = self.clients[at % self.clients.len()];
            channels.push(
                Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address").connect_lazy(),
            );
        }
        let deadline = Instant::now() + START_LIMIT;
        while put(&mut Grpc::new(channels[0].clone()), (b"ready".to_vec(), vec![])).await.is_err() {
            assert!(Instant::now() < deadline, "etcd does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        channels
    }

    /// Resident MiB of the first member.
    fn memory(&self) -> f64 {
        super::ours::resident(self.children[0].id())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn put(grpc: &mut Grpc<Channel>, (key, value): (Vec<u8>, Vec<u8>)) -> Result<(), tonic::Status> {
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    grpc.unary(tonic::Request::new(PutRequest { key, value }), path, codec).await.map(drop)
}

pub async fn puts(members: usize, clients: usize, length: Duration) {
    let cluster = match Cluster::start(members) {
        Ok(cluster) => cluster,
        Err(error) => return println!("| etcd | {members} | not measured: {error} | | | |"),
    };
    let channels = cluster.connections().await;
    let load = std::sync::Arc::new(Load::of(length));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (load, channel) = (load.clone(), channels[client % channels.len()].clone());
            tokio::spawn(async move {
                let mut grpc = Grpc::new(channel);
                let mut times = Vec::new();
                for number in 0.. {
                    if !load.goes_on() {
                        break;
                    }
                    let begun = Instant::now();
                    put(&mut grpc, pair(client, number)).await.expect("a put");
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a client"));
    }
    let memory = cluster.memory();
    load.row(&format!("etcd, gRPC ({memory:.0} MiB)"), members, clients, times);
}
