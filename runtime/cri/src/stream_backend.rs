//! What streaming sessions do: exec and attach reach a container's streams, port-forward a pod's loopback.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use streaming::{AttachRequest, Backend, ByteStream, ExecRequest, Server, Stdio, StreamError};
use tokio::net::TcpStream;

use crate::container::exec;
use crate::fault::Fault;
use crate::io;
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
            io::exec::exec_stream(&self.node.processes, id, plan, cgroup, request.tty, stdio)
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

/// A socket made inside the pod's network namespace stays in it, wherever it is used.
async fn connect(node: &Arc<Node>, sandbox: &str, port: u16) -> Result<TcpStream, Fault> {
    let path = node.sandbox(sandbox)?.record().net.clone();
    let connected = blocking(move || {
        let dial = || {
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            std::net::TcpStream::connect_timeout(&v4, CONNECT_TIMEOUT).or_else(|first| {
                std::net::TcpStream::connect_timeout(&v6, CONNECT_TIMEOUT).map_err(|_| first)
            })
        };
        let what = || format!("failed to connect to localhost:{port} inside the sandbox");
        let failed = |error: std::io::Error| Fault::failed(what(), error);
        let Some(path) = path else { return dial().map_err(failed) };
        let namespace = sys::netns::open(&path).map_err(|error| Fault::failed(what(), error))?;
        sys::netns::run_in(namespace.as_fd(), dial)
            .map_err(|error| Fault::failed(what(), error))?
            .map_err(failed)
    })
    .await?;
    let registered = connected.set_nonblocking(true).and_then(|()| TcpStream::from_std(connected));
    registered.map_err(|error| Fault::failed("forwarding a port", error))
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
