//! Sessions over loopback: our server with a backend that needs no containers, our clients and raw ones.

mod attach;
mod backend;
mod exec;
mod http;
mod portforward;
mod pressure;
mod proxy;
mod raw;
mod timeouts;

use std::sync::Arc;
use std::time::Duration;

use keelson_streaming::client::remotecommand::{self, RemoteCommand};
use keelson_streaming::{Request, Server, ServerOptions, Streams};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use backend::Fake;

/// Everything that can be spoken: name, and whether over WebSocket.
pub const PROTOCOLS: &[(&str, bool)] = &[
    ("v4.channel.k8s.io", false),
    ("v3.channel.k8s.io", false),
    ("v2.channel.k8s.io", false),
    ("channel.k8s.io", false),
    ("v5.channel.k8s.io", true),
    ("v4.channel.k8s.io", true),
    ("v4.base64.channel.k8s.io", true),
    ("channel.k8s.io", true),
    ("base64.channel.k8s.io", true),
    ("", true),
];

/// A running server.
pub struct Running {
    pub server: Server,
    pub fake: Arc<Fake>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub fn start() -> Running {
        Running::start_with(ServerOptions::default())
    }

    pub fn start_with(options: ServerOptions) -> Running {
        let fake = Arc::new(Fake::default());
        let server = Server::bind("127.0.0.1:0", fake.clone(), options).expect("a server");
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move { server.serve(stop).await }
        });
        Running { server, fake, stop, task }
    }

    pub fn url(&self, request: impl Into<Request>) -> ::http::Uri {
        self.server.url_for(request.into()).expect("a url").parse().expect("a uri")
    }

    pub async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.expect("a connection")
    }

    /// Opens an exec or attach session in one of [`PROTOCOLS`].
    pub async fn session(
        &self,
        request: impl Into<Request>,
        streams: Streams,
        (protocol, websocket): (&str, bool),
    ) -> RemoteCommand {
        let (io, url) = (self.dial().await, self.url(request));
        let session = if !websocket {
            remotecommand::spdy(io, &url, &[protocol], streams).await
        } else if protocol.is_empty() {
            remotecommand::websocket(io, &url, &[], streams).await
        } else {
            remotecommand::websocket(io, &url, &[protocol], streams).await
        };
        session.expect("a session")
    }

    pub async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.expect("no panic").expect("served");
    }
}

/// No test waits for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("in time")
}

pub async fn text(mut reader: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    within(reader.read_to_string(&mut text)).await.expect("readable");
    text
}
