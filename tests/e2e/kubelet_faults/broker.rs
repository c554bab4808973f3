//! Stands between a kubelet and its runtime, and loses chosen calls on the way.
//!
//! Bytes are passed on as they are, so every RPC goes through. Of calls that change something each pod's are counted;
//! which pod a call is for is known by the pod's name in it, or by an id that the runtime gave for that pod before.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::{UnixListener, UnixStream};

type Body = BoxBody<Bytes, hyper::Error>;

/// Calls that change something.
const CHANGES: [&str; 7] = [
    "RunPodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
];
/// The frame before a message: a flag and a length.
const FRAME_BYTES: usize = 5;
const UNAVAILABLE: &str = "14";

/// Where a call is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The runtime never hears of it.
    Call,
    /// The runtime does it; its answer is lost.
    Answer,
}

/// Loses the `at`th changing call for a pod.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub loss: Loss,
    pub at: usize,
}

#[derive(Default)]
struct Ledger {
    faults: BTreeMap<String, Fault>,
    /// Changing calls so far.
    calls: BTreeMap<String, Vec<String>>,
    /// Whose sandbox or container an id is.
    owners: HashMap<String, String>,
    lost: BTreeMap<String, String>,
}

/// A broker that works until it is dropped.
pub struct Broker {
    pub socket: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Broker {
    /// Listens at `socket` for a kubelet whose runtime is at `real`.
    pub fn start(socket: PathBuf, real: PathBuf, faults: BTreeMap<String, Fault>) -> Broker {
        let ledger = Arc::new(Mutex::new(Ledger { faults, ..Ledger::default() }));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&socket).expect("the broker's socket")
        };
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let shared = ledger.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, real.clone(), shared.clone()));
            }
        });
        Broker { socket, ledger, runtime: Some(runtime) }
    }

    /// The pods whose call was lost, and which call that was.
    pub fn lost(&self) -> BTreeMap<String, String> {
        self.ledger.lock().expect("whole").lost.clone()
    }

    /// What was called for a pod, in order.
    pub fn calls(&self, pod: &str) -> Vec<String> {
        self.ledger.lock().expect("whole").calls.get(pod).cloned().unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn serve(stream: UnixStream, real: PathBuf, ledger: Arc<Mutex<Ledger>>) {
    let Ok(onward) = connect(&real).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let (onward, ledger) = (onward.clone(), ledger.clone());
        async move { pass(request, onward, ledger).await }
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // A kubelet that is killed ends it.
    let _ended = http.serve_connection(TokioIo::new(stream), service).await;
}

type Onward = hyper::client::conn::http2::SendRequest<Body>;

async fn connect(real: &Path) -> anyhow::Result<Onward> {
    let stream = UnixStream::connect(real).await?;
    let (onward, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(onward)
}

async fn pass(
    request: Request<Incoming>,
    mut onward: Onward,
    ledger: Arc<Mutex<Ledger>>,
) -> Result<Response<Body>, hyper::Error> {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    if !CHANGES.contains(&call.as_str()) {
        return Ok(onward.send_request(request.map(BodyExt::boxed)).await?.map(BodyExt::boxed));
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (pod, loss) = ledger.lock().expect("whole").count(&call, &body);
    if loss == Some(Loss::Call) {
        return Ok(unavailable("the call was lost"));
    }
    let whole = Full::new(body).map_err(|never| match never {}).boxed();
    let answer = onward.send_request(Request::from_parts(head, whole)).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await?;
    let (trailers, body) = (body.trailers().cloned(), body.to_bytes());
    if let (Some(pod), Some(id)) = (pod, made(&call, &body)) {
        ledger.lock().expect("whole").owners.insert(id, pod);
    }
    if loss == Some(Loss::Answer) {
        return Ok(unavailable("the answer was lost"));
    }
    let body = Full::new(body).map_err(|never| match never {});
    let body = body.with_trailers(std::future::ready(trailers.map(Ok))).boxed();
    Ok(Response::from_parts(head, body))
}

/// The id of what a call has made.
fn made(call: &str, body: &[u8]) -> Option<String> {
    let message = body.get(FRAME_BYTES..)?;
    match call {
        "RunPodSandbox" => Some(cri_api::v1::RunPodSandboxResponse::decode(message).ok()?.pod_sandbox_id),
        "CreateContainer" => Some(cri_api::v1::CreateContainerResponse::decode(message).ok()?.container_id),
        _ => None,
    }
}

fn unavailable(why: &str) -> Response<Body> {
    let answer = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", UNAVAILABLE)
        .header("grpc-message", why);
    answer.body(Empty::new().map_err(|never| match never {}).boxed()).expect("an answer")
}

impl Ledger {
    /// Whose call it is, and whether it is the one to lose.
    fn count(&mut self, call: &str, body: &[u8]) -> (Option<String>, Option<Loss>) {
        let holds = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        let by_id = || self.owners.iter().find(|(id, _)| holds(id)).map(|(_, pod)| pod.clone());
        let named = self.faults.keys().find(|pod| holds(pod)).cloned();
        let Some(pod) = named.or_else(by_id) else { return (None, None) };
        let calls = self.calls.entry(pod.clone()).or_default();
        calls.push(call.to_owned());
        let fault = self.faults.get(&pod).filter(|fault| fault.at == calls.len());
        let loss = fault.map(|fault| fault.loss);
        if loss.is_some() {
            self.lost.insert(pod.clone(), call.to_owned());
        }
        (Some(pod), loss)
    }
}
