//! Probes against real listeners on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use client::{Client, Config, EventRecorder, Surroundings};
use cri_api::v1;
use pki::{Authority, Kubeconfig, Profile, Usage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::spec::{Handler, Port, Spec};
use super::track::Outcome;
use super::{ProbeKind, ProbeReport, Prober, attempt};
use crate::observed::{Observed, ObservedContainer, State};
use crate::pod::Pod;
use crate::runtime::Runtime;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime that nobody has to ask.
fn runtime() -> Runtime {
    Runtime::at("unix:///nonexistent/cri.sock").unwrap()
}

async fn ask(handler: Handler) -> Outcome {
    ask_within(PATIENCE, handler).await
}

async fn ask_within(patience: Duration, handler: Handler) -> Outcome {
    let spec = Spec {
        container: "c".into(),
        kind: ProbeKind::Readiness,
        handler,
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(1),
        timeout: patience,
        success_threshold: 1,
        failure_threshold: 1,
        grace_seconds: None,
    };
    attempt::run(spec, "id".into(), vec![LOOPBACK], runtime()).await
}

fn http(port: u16, path: &str) -> Handler {
    Handler::Http {
        host: String::new(),
        port: Port::Number(port),
        path: path.into(),
        https: false,
        headers: vec![],
    }
}

fn failure(text: impl Into<String>) -> Outcome {
    Outcome::Failure(text.into())
}

/// Serves answers by path; the request goes back to those who ask for `/echo`.
async fn web_server() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                let port = address.port();
                let head = match path.as_str() {
                    "/ok" => "HTTP/1.1 200 OK".to_owned(),
                    "/bad" => "HTTP/1.1 500 Internal Server Error".to_owned(),
                    "/here" => "HTTP/1.1 302 Found\r\nLocation: /ok".to_owned(),
                    "/same" => format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/bad"),
                    "/away" => "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/".to_owned(),
                    "/round" => "HTTP/1.1 302 Found\r\nLocation: /round".to_owned(),
                    "/slow" => return tokio::time::sleep(PATIENCE).await,
                    _ if request.contains("kube-probe/1.36")
                        && request.to_lowercase().contains("x-mine: 1") =>
                    {
                        "HTTP/1.1 204 No Content".to_owned()
                    }
                    _ => "HTTP/1.1 400 Bad Request".to_owned(),
                };
                let _ = stream.write_all(format!("{head}\r\nContent-Length: 2\r\n\r\nhi").as_bytes()).await;
            });
        }
    });
    address
}

/// A port where nobody listens, and which no connection is given meanwhile.
fn closed() -> u16 {
    harness::api::free_port()
}

#[tokio::test]
async fn http_answers_in_upstreams_words() {
    let port = web_server().await.port();
    let check = async |path: &str, expect: Outcome| assert_eq!(ask(http(port, path)).await, expect, "{path}");
    check("/ok", Outcome::Success).await;
    check("ok", Outcome::Success).await;
    check("/here", Outcome::Success).await;
    check("/bad", failure("HTTP probe failed with statuscode: 500")).await;
    check("/same", failure("HTTP probe failed with statuscode: 500")).await;
    check("/away", Outcome::Warning("Probe terminated redirects, Response body: hi".into())).await;
    check("/round", failure(format!("Get \"http://127.0.0.1:{port}/round\": stopped after 10 redirects")))
        .await;
    let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(
        ask_within(Duration::from_secs(1), http(port, "/slow")).await,
        failure(format!("Get \"http://127.0.0.1:{port}/slow\": {slow}"))
    );
    let headers = vec![("X-Mine".to_owned(), "1".to_owned())];
    let with = |headers| Handler::Http {
        host: "127.0.0.1".into(),
        port: Port::Number(port),
        path: "/echo".into(),
        https: false,
        headers,
    };
    assert_eq!(ask(with(headers)).await, Outcome::Success);
    assert_eq!(ask(with(vec![])).await, failure("HTTP probe failed with statuscode: 400"));
    let nobody = closed();
    let refused = format!("dial tcp 127.0.0.1:{nobody}: connect: connection refused");
    assert_eq!(
        ask(http(nobody, "/")).await,
        failure(format!("Get \"http://127.0.0.1:{nobody}/\": {refused}"))
    );
    assert_eq!(
        ask(Handler::Http {
            host: String::new(),
            port: Port::Unknown("web".into()),
            path: "/".into(),
            https: false,
            headers: vec![]
        })
        .await,
        Outcome::Error("couldn't find port: web in container".into())
    );
}

#[tokio::test]
async fn https_takes_any_certificate() {
    struct Ok200;
    impl serve::Handler for Ok200 {
        async fn handle(
            self: Arc<Self>,
            _: serve::ConnInfo,
            _: ::http::Request<hyper::body::Incoming>,
        ) -> ::http::Response<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, serve::BodyError>>
        {
            use http_body_util::BodyExt as _;
            ::http::Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync())
        }
    }
    // Expired, and of an authority that nobody knows.
    let authority = Authority::create("unknown", 1_000_000_000).unwrap();
    let profile = Profile {
        common_name: "x".into(),
        organization: None,
        names: vec!["x".into()],
        usage: Usage::Server,
        lifetime_seconds: 10,
    };
    let made = authority.issue(&profile, 1_000_000_000).unwrap();
    let identity = serve::ServerIdentity::new(made.chain("x").unwrap(), made.key("x").unwrap()).unwrap();
    let listener = serve::Listener::bind(SocketAddr::new(LOOPBACK, 0)).await.unwrap();
    let port = listener.address.port();
    let stopping = tokio_util::sync::CancellationToken::new();
    let tls = serve::server_config(Arc::new(identity)).unwrap();
    let served =
        tokio::spawn(listener.serve(tls, Arc::new(Ok200), serve::Limits::default(), stopping.clone()));
    let probe = Handler::Http {
        host: String::new(),
        port: Port::Number(port),
        path: "/".into(),
        https: true,
        headers: vec![],
    };
    assert_eq!(ask(probe).await, Outcome::Success);
    stopping.cancel();
    served.await.unwrap();
}

#[tokio::test]
async fn tcp_and_grpc() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let tcp = |port| Handler::Tcp { host: String::new(), port: Port::Number(port) };
    assert_eq!(ask(tcp(open)).await, Outcome::Success);
    let nobody = closed();
    let refused = format!("dial tcp 127.0.0.1:{nobody}: connect: connection refused");
    assert_eq!(ask(tcp(nobody)).await, failure(&refused));
    let port = grpc_server().await.port();
    let grpc = |port, service: &str| Handler::Grpc { port, service: service.into() };
    assert_eq!(ask(grpc(port, "")).await, Outcome::Success);
    assert_eq!(ask(grpc(port, "ill")).await, failure("service unhealthy (responded with \"NOT_SERVING\")"));
    let unknown = "error: health rpc failed: rpc error: code = 5 desc = unknown service";
    assert_eq!(ask(grpc(port, "nobody")).await, failure(unknown));
    let unreachable = format!("error: failed to connect service \"127.0.0.1:{nobody}\": {refused}");
    assert_eq!(ask(grpc(nobody, "")).await, failure(unreachable));
}

/// A health service: "" serves, "ill" does not, others are unknown.
async fn grpc_server() -> SocketAddr {
    use http_body_util::{BodyExt as _, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service =
                hyper::service::service_fn(|request: ::http::Request<hyper::body::Incoming>| async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let named = body.get(7..).unwrap_or_default();
                    let status = if named == b"ill" { 2 } else { 1 };
                    let mut trailers = ::http::HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    let known = matches!(named, b"" | b"ill");
                    if !known {
                        trailers.insert("grpc-status", "5".parse().unwrap());
                        trailers.insert("grpc-message", "unknown service".parse().unwrap());
                    }
                    let message: &[u8] = if known { &[0, 0, 0, 0, 2, 8, status] } else { &[] };
                    let body = Full::new(bytes::Bytes::copy_from_slice(message));
                    let body = body.with_trailers(async move { Some(Ok(trailers)) });
                    Ok::<_, std::convert::Infallible>(::http::Response::new(body))
                });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

#[tokio::test]
async fn an_exec_without_a_runtime_teaches_nothing() {
    let outcome = ask(Handler::Exec { command: vec!["true".into()] }).await;
    assert!(matches!(outcome, Outcome::Error(_)), "{outcome:?}");
}

/// Events that go nowhere: nobody listens at the API.
fn recorder() -> EventRecorder {
    let now = jiff::Timestamp::now().as_second();
    let authority = Authority::create("ca", now).unwrap();
    let profile = Profile {
        common_name: "kubelet".into(),
        organization: None,
        names: vec![],
        usage: Usage::Client,
        lifetime_seconds: 3600,
    };
    let certificate = authority.issue(&profile, now).unwrap();
    let kubeconfig = Kubeconfig {
        server: "https://127.0.0.1:1",
        authority_pem: authority.certificate_pem(),
        user: "kubelet",
        certificate: &certificate,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_yaml()).unwrap();
    let config = Config::read(&path).unwrap();
    let client = Client::new(config, "test", Surroundings::system()).unwrap();
    EventRecorder::start(client, "kubelet", "node")
}

fn observed(id: &str) -> Observed {
    let container = ObservedContainer {
        id: id.into(),
        sandbox: "s".into(),
        name: "c".into(),
        attempt: 0,
        state: State::Running,
        last_words: String::new(),
        status: v1::ContainerStatus {
            started_at: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap(),
            ..v1::ContainerStatus::default()
        },
    };
    Observed { containers: vec![container], ..Observed::default() }
}

fn pod(port: u16, status: Value) -> Arc<Pod> {
    let probe = |more: Value| {
        let mut probe = json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 20, "failureThreshold": 1});
        probe.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        probe
    };
    Arc::new(Pod::of(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{
            "name": "c",
            "startupProbe": probe(json!({"failureThreshold": 100})),
            "livenessProbe": probe(json!({"terminationGracePeriodSeconds": 7})),
            "readinessProbe": probe(json!({})),
        }]},
        "status": status,
    })))
}

async fn next(reports: &mut mpsc::Receiver<ProbeReport>) -> (ProbeKind, bool, Option<i64>) {
    let report = timeout(PATIENCE, reports.recv()).await.expect("a report in time").expect("a report");
    assert_eq!(report.container, "c");
    (report.kind, report.success, report.grace_seconds)
}

#[tokio::test]
async fn a_container_starts_lives_and_fails() {
    let port = closed();
    let (sender, mut reports) = mpsc::channel(8);
    let prober = Prober::start(pod(port, Value::Null), runtime(), recorder(), sender);
    prober.observe(&observed("one"), &vec![LOOPBACK]);
    // Nothing is said while the startup probe fails below its threshold.
    assert!(timeout(Duration::from_millis(1500), reports.recv()).await.is_err());
    let listener = TcpListener::bind((LOOPBACK, port)).await.unwrap();
    assert_eq!(next(&mut reports).await, (ProbeKind::Startup, true, None));
    let mut first = [next(&mut reports).await, next(&mut reports).await];
    first.sort();
    assert_eq!(first, [(ProbeKind::Liveness, true, None), (ProbeKind::Readiness, true, None)]);
    drop(listener);
    let mut lost = [next(&mut reports).await, next(&mut reports).await];
    lost.sort();
    assert_eq!(lost, [(ProbeKind::Liveness, false, Some(7)), (ProbeKind::Readiness, false, None)]);
    // Another container of the same name begins anew.
    let _listener = TcpListener::bind((LOOPBACK, port)).await.unwrap();
    prober.observe(&observed("two"), &vec![LOOPBACK]);
    let report = timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
    assert_eq!((report.kind, report.container_id.as_str()), (ProbeKind::Startup, "two"));
    prober.pod_terminates();
    timeout(PATIENCE, prober.stop()).await.expect("it ends");
}

#[tokio::test]
async fn a_new_kubelet_believes_the_api_about_a_container_that_still_runs() {
    let port = closed();
    let status = json!({"containerStatuses": [
        {"name": "c", "containerID": "keelson://one", "ready": true, "started": true}
    ]});
    let (sender, mut reports) = mpsc::channel(8);
    let prober = Prober::start(pod(port, status.clone()), runtime(), recorder(), sender);
    let remembered = super::remembered(&pod(port, status.clone()), &observed("one"));
    let remembered: Vec<_> = remembered.iter().map(|report| (report.kind, report.success)).collect();
    assert_eq!(remembered, [(ProbeKind::Startup, true), (ProbeKind::Readiness, true)]);
    assert!(super::remembered(&pod(port, status), &observed("two")).is_empty(), "another container");
    prober.observe(&observed("one"), &vec![LOOPBACK]);
    let mut known = [next(&mut reports).await, next(&mut reports).await];
    known.sort();
    assert_eq!(known, [(ProbeKind::Readiness, true, None), (ProbeKind::Startup, true, None)]);
    // And finds out that it is not so any more.
    let mut lost = [next(&mut reports).await, next(&mut reports).await];
    lost.sort();
    assert_eq!(lost, [(ProbeKind::Liveness, false, Some(7)), (ProbeKind::Readiness, false, None)]);
    prober.stop().await;
}

#[tokio::test]
async fn a_full_channel_does_not_keep_it_from_ending() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let (sender, reports) = mpsc::channel(1);
    let prober =
        Prober::start(pod(listener.local_addr().unwrap().port(), Value::Null), runtime(), recorder(), sender);
    static SEEN: AtomicU16 = AtomicU16::new(0);
    prober.observe(&observed("one"), &vec![LOOPBACK]);
    while SEEN.fetch_add(1, Ordering::Relaxed) < 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    timeout(PATIENCE, prober.stop()).await.expect("it ends");
    drop(reports);
}
