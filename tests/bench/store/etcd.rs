//! Debian's etcd: started, and asked over gRPC.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

use harness::process;

use super::{AsyncPut, CONNECTIONS, Load, Turn};

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

/// A running cluster.
pub struct Cluster {
    children: Vec<Child>,
    channels: Vec<Channel>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    pub async fn start(members: usize) -> std::io::Result<Cluster> {
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
        let mut channels = Vec::new();
        for at in 0..CONNECTIONS {
            let (port, _) = ports[at % ports.len()];
            channels.push(
                Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address").connect_lazy(),
            );
        }
        let cluster = Cluster { children, channels, _folder: folder };
        let deadline = Instant::now() + START_LIMIT;
        while put(cluster.channels[0].clone(), (b"ready".to_vec(), vec![])).await.is_err() {
            assert!(Instant::now() < deadline, "etcd does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(cluster)
    }

    /// Resident MiB of all members.
    pub fn memory(&self) -> f64 {
        self.children.iter().map(|child| process::resident(child.id()) as f64 / 1024.0).sum()
    }

    pub async fn puts(&self, load: Load) -> Turn {
        let pids: Vec<u32> = self.children.iter().map(Child::id).collect();
        load.run(&pids, |client| self.channels[client % self.channels.len()].clone()).await
    }
}

impl AsyncPut for Channel {
    async fn put(&self, pair: (Vec<u8>, Vec<u8>)) {
        put(self.clone(), pair).await.expect("a put");
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

async fn put(channel: Channel, (key, value): (Vec<u8>, Vec<u8>)) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    grpc.unary(tonic::Request::new(PutRequest { key, value }), path, codec).await.map(drop)
}
