//! What streaming sessions do: exec and attach reach a container's streams, port-forward a pod's loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use streaming::{AttachRequest, Backend, ByteStream, ExecRequest, Server, Stdio, StreamError};
use tokio::net::{TcpSocket, TcpStream};

use crate::container::exec;
use crate::fault::Fault;
use crate::node::Node;
use crate::sandbox::execute::blocking;

/// The streaming server, as calls see it.
pub type Streaming = Server;

/// How long a connection to a port of the pod's own loopback may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers sessions out of one node.
pub struct Sessions {
    pub node: Arc<Node>,
}

impl Backend for Sessions {
    fn exec(&self, request: ExecRequest, stdio: Stdio) -> BoxFuture<'_, Result<i32, StreamError>> {
        async move {
            let container = self.node.container(&request.container)?;
            let prepared = exec::prepare(&self.node, &container, request.command, request.tty).await?;
            let (id, plan, cgroup) = (prepared.id, &prepared.plan, prepared.cgroup);
            crate::io::exec::exec_stream(&self.node.processes, id, plan, cgroup, request.tty, stdio)
                .await
                .map_err(|error| Fault::failed("failed to exec in container", error).into())
        }
        .boxed()
    }

    fn attach(&self, request: AttachRequest, stdio: Stdio) -> BoxFuture<'_, Result<(), StreamError>> {
        async move {
            let container = self.node.container(&request.container)?;
            container.running()?;
            let streams = container.io();
            let streams = streams
                .ok_or_else(|| StreamError::Failed(format!("container {} has no streams", container.id)))?;
            let attached = streams.attach(stdio).await;
            attached.map_err(|error| Fault::failed("failed to attach to container", error).into())
        }
        .boxed()
    }

    fn port_forward(
        &self,
        sandbox: String,
        port: u16,
        mut stream: Box<dyn ByteStream>,
    ) -> BoxFuture<'_, Result<(), StreamError>> {
        async move {
            let mut target = connect(&self.node, &sandbox, port).await?;
            // Either side may close first; what is in flight the other way still arrives.
            tokio::io::copy_bidirectional(&mut stream, &mut target).await?;
            Ok(())
        }
        .boxed()
    }
}

/// Sockets made inside the pod's network namespace stay in it, wherever they are used: only their making holds a place among
/// those that wait for the kernel.
async fn connect(node: &Arc<Node>, sandbox: &str, port: u16) -> Result<TcpStream, Fault> {
    let path = node.sandbox(sandbox)?.record().net.clone();
    let what = move || format!("failed to connect to localhost:{port} inside the sandbox");
    let sockets = blocking(move || {
        let Some(path) = path else { return Ok(Sockets::make()) };
        let namespace = sys::netns::open(&path).map_err(|error| Fault::failed(what(), error))?;
        sys::netns::run_in(namespace.as_fd(), Sockets::make).map_err(|error| Fault::failed(what(), error))
    })
    .await?;
    sockets.dial(port).await.map_err(|error| Fault::failed(what(), error))
}

/// One socket of each family, in the order in which they are tried.
struct Sockets {
    v4: io::Result<TcpSocket>,
    v6: io::Result<TcpSocket>,
}

impl Sockets {
    fn make() -> Sockets {
        Sockets { v4: TcpSocket::new_v4(), v6: TcpSocket::new_v6() }
    }

    /// Connects to a port of the loopback. When neither answers, the first one's error counts.
    async fn dial(self, port: u16) -> io::Result<TcpStream> {
        match dial_one(self.v4, (Ipv4Addr::LOCALHOST, port).into()).await {
            Ok(stream) => Ok(stream),
            Err(first) => dial_one(self.v6, (Ipv6Addr::LOCALHOST, port).into()).await.map_err(|_| first),
        }
    }
}

async fn dial_one(socket: io::Result<TcpSocket>, address: SocketAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT_TIMEOUT, socket?.connect(address)).await?
}

impl From<Fault> for StreamError {
    fn from(fault: Fault) -> StreamError {
        match fault {
            Fault::NotFound(_) => {
                StreamError::NotFound(fault.to_string().trim_end_matches(": not found").to_owned())
            }
            _ => StreamError::Failed(fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpListener};

    use super::*;

    #[tokio::test]
    async fn either_loopback_is_reached() {
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let listener = TcpListener::bind((address, 0)).unwrap();
            let there = listener.local_addr().unwrap();
            assert_eq!(Sockets::make().dial(there.port()).await.unwrap().peer_addr().unwrap(), there);
            drop(listener);
            let refused = Sockets::make().dial(there.port()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
