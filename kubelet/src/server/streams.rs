//! Exec, attach and port-forward: the runtime is asked where the stream is, and the client's upgrade goes on there.
//!
//! The bytes are not decoded. The runtime's streaming server listens on loopback; its address is believed, because
//! the runtime is.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::path::Query;
use cri_api::v1;
use http::header::UPGRADE;
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Server;
use super::answer::{Body, Refusal};
use super::route::StreamKind;
use crate::directory::PodView;
use crate::observed::{ObservedContainer, State};

/// The most streams at once.
const MOST_SESSIONS: usize = 1024;
/// How long the runtime's server may take to accept.
const DIAL: Duration = Duration::from_secs(10);
/// What streams get to end with the server.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Streams that outlive their request.
pub(super) struct Sessions {
    tracker: TaskTracker,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

pub(super) async fn answer(
    server: &Server,
    kind: StreamKind,
    (namespace, pod, container): (&str, &str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let view = server.pods.get(namespace, pod).ok_or_else(|| Refusal::new(404, "pod does not exist"))?;
    if !request.headers().contains_key(UPGRADE) {
        return Err(Refusal::new(400, "Upgrade request required"));
    }
    let url = match kind {
        StreamKind::Exec => exec(server, &view, container, query).await?,
        StreamKind::Attach => attach(server, &view, container, query).await?,
        StreamKind::PortForward => port_forward(server, &view, query).await?,
    };
    let place = server.sessions.place()?;
    let unreachable = |why: String| Refusal::new(502, format!("error dialing the runtime's stream: {why}"));
    let to: Uri = url.parse().map_err(|_| unreachable(format!("{url:?} is no URL")))?;
    let address = address_of(&to).ok_or_else(|| unreachable(format!("{url:?} names no IP address")))?;
    let stream = match timeout(DIAL, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(format!("{address}: {error}"))),
        Err(_) => return Err(unreachable(format!("{address}: no answer within {DIAL:?}"))),
    };
    // A keystroke must not wait for the next one; a socket that refuses this works without.
    let _ = stream.set_nodelay(true);
    let (answer, splice) = streaming::proxy::forward(request, &to, stream)
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    if let Some(splice) = splice {
        server.sessions.run(place, async {
            if let Err(error) = splice.run().await {
                tracing::debug!(%error, "a stream ended");
            }
        });
    }
    Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
}

async fn exec(server: &Server, view: &PodView, container: &str, query: &Query) -> Result<String, Refusal> {
    let (container, wanted) = (running(view, container)?, Wanted::read(query)?);
    let request = v1::ExecRequest {
        container_id: container.id.clone(),
        cmd: query.all("command").map(str::to_owned).collect(),
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let answer = server.runtime.service().exec(request).await.map_err(failed)?;
    Ok(answer.into_inner().url)
}

async fn attach(server: &Server, view: &PodView, container: &str, query: &Query) -> Result<String, Refusal> {
    let (container, wanted) = (running(view, container)?, Wanted::read(query)?);
    let request = v1::AttachRequest {
        container_id: container.id.clone(),
        stdin: wanted.stdin,
        tty: wanted.tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let answer = server.runtime.service().attach(request).await.map_err(failed)?;
    Ok(answer.into_inner().url)
}

async fn port_forward(server: &Server, view: &PodView, query: &Query) -> Result<String, Refusal> {
    let sandbox = view
        .observed
        .ready_sandbox()
        .ok_or_else(|| Refusal::new(500, format!("pod not found ({:?})", view.pod.key.name)))?;
    let mut ports = Vec::new();
    for text in query.all("port").flat_map(|ports| ports.split(',')).filter(|port| !port.is_empty()) {
        let port: u16 =
            text.parse().map_err(|_| Refusal::new(400, format!("unable to parse {text:?} as a port")))?;
        ports.push(i32::from(port));
    }
    let request = v1::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port: ports };
    let answer = server.runtime.service().port_forward(request).await.map_err(failed)?;
    Ok(answer.into_inner().url)
}

/// The container of a name, which must run.
fn running<'a>(view: &'a PodView, name: &'a str) -> Result<&'a ObservedContainer, Refusal> {
    let found = view.observed.of(name).find(|container| container.state == State::Running);
    found.ok_or_else(|| Refusal::new(500, format!("container not found ({name:?})")))
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    tty: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Wanted {
    fn read(query: &Query) -> Result<Wanted, Refusal> {
        let set = |name: &str| query.get(name).is_some_and(|value| value == "1");
        let tty = set("tty");
        // A terminal has one output.
        let wanted = Wanted { tty, stdin: set("input"), stdout: set("output"), stderr: set("error") && !tty };
        if !wanted.stdin && !wanted.stdout && !wanted.stderr {
            return Err(Refusal::new(400, "you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(wanted)
    }
}

fn failed(status: tonic::Status) -> Refusal {
    let code = match status.code() {
        tonic::Code::InvalidArgument => 400,
        tonic::Code::NotFound => 404,
        tonic::Code::ResourceExhausted => 429,
        _ => 500,
    };
    Refusal::new(code, format!("rpc error: code = {:?} desc = {}", status.code(), status.message()))
}

fn address_of(url: &Uri) -> Option<SocketAddr> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, url.port_u16().unwrap_or(80)))
}

// === impl Sessions ===

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            tracker: TaskTracker::new(),
            places: Arc::new(Semaphore::new(MOST_SESSIONS)),
            stopping: CancellationToken::new(),
        }
    }
}

impl Sessions {
    fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| Refusal::new(429, "too many streams are open, please try again later"))
    }

    fn run(&self, place: OwnedSemaphorePermit, session: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tracker.spawn(async move {
            tokio::select! { () = session => {}, () = stopping.cancelled() => {} }
            drop(place);
        });
    }

    /// Ends all streams and waits for them.
    pub(super) async fn end(&self) {
        self.stopping.cancel();
        self.tracker.close();
        if timeout(WIND_DOWN, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "streams did not end");
        }
    }

    /// How many streams are open.
    pub(super) fn len(&self) -> usize {
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_a_client_wants() {
        let wanted = |tty, stdin, stdout, stderr| Ok(Wanted { tty, stdin, stdout, stderr });
        for (query, expect) in [
            ("output=1", wanted(false, false, true, false)),
            ("input=1&output=1&error=1&tty=1", wanted(true, true, true, false)),
            ("input=1&output=true&error=1", wanted(false, true, false, true)),
            ("", Err(Refusal::new(400, "you must specify at least 1 of stdin, stdout, stderr"))),
        ] {
            assert_eq!(Wanted::read(&Query::parse(query)), expect, "{query}");
        }
    }

    #[test]
    fn addresses_of_streams() {
        for (url, expect) in [
            ("http://127.0.0.1:4000/exec/x", Some("127.0.0.1:4000")),
            ("http://[::1]:4000/exec/x", Some("[::1]:4000")),
            ("http://localhost/exec/x", Some("127.0.0.1:80")),
            ("http://elsewhere/exec/x", None),
            ("/exec/x", None),
        ] {
            let found = address_of(&url.parse().unwrap()).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expect, "{url}");
        }
    }
}
