//! A real listener and real clients over loopback.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keelson_serve::{
    BodyError, ConnInfo, Handler, Limits, ListenError, Listener, ServerIdentity, server_config,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_util::sync::CancellationToken;

struct Echo;

/// A request to `/held` has come.
static HELD: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// Pieces of the answer to `/endless` that were made.
static MADE: AtomicUsize = AtomicUsize::new(0);
const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 << 10]);

/// Never ends, and counts.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        // A server that takes all it gets would not stop by itself.
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        Poll::Ready((made < 10_000).then(|| Ok(http_body::Frame::data(PIECE))))
    }
}

impl Handler for Echo {
    async fn handle(
        self: Arc<Self>,
        connection: ConnInfo,
        request: Request<Incoming>,
    ) -> Response<UnsyncBoxBody<Bytes, BodyError>> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/held" => {
                HELD.notify_one();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            "/slow" => tokio::time::sleep(2 * HEADERS).await,
            _ => {}
        }
        if path == "/endless" {
            return Response::new(Endless.boxed_unsync());
        }
        let text = format!("{} certificates, {:?}", connection.certificates.len(), request.version());
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
        Response::new(body.boxed_unsync())
    }
}

/// How long a client may take to ask, where one that does not is dropped; an honest one needs as much on a busy machine.
const HEADERS: Duration = Duration::from_secs(2);

struct Cert {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn certificate(name: &str) -> Cert {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Cert { chain: vec![made.cert.der().clone()], key }
}

struct Server {
    address: std::net::SocketAddr,
    root: CertificateDer<'static>,
    stopping: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let server = certificate("localhost");
    let root = server.chain[0].clone();
    let identity = Arc::new(ServerIdentity::new(server.chain, server.key).unwrap());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stopping) = (listener.address, CancellationToken::new());
    let tls = server_config(identity).unwrap();
    let task = tokio::spawn(listener.serve(tls, Arc::new(Echo), limits, stopping.clone()));
    Server { address, root, stopping, task }
}

impl Server {
    async fn connect(
        &self,
        protocol: &[u8],
        client: Option<Cert>,
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, String> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            Some(cert) => builder.with_client_auth_cert(cert.chain, cert.key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = tokio::net::TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.map_err(|e| e.to_string())
    }

    async fn get(&self, path: &str, protocol: &[u8], client: Option<Cert>) -> Result<String, String> {
        let response = self.ask("GET", path, protocol, client).await?;
        let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        protocol: &[u8],
        client: Option<Cert>,
    ) -> Result<Response<Incoming>, String> {
        let stream = self.connect(protocol, client).await?;
        let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = if protocol == b"h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        response.map_err(|e| e.to_string())
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let server = start(Limits::default()).await;
    for (protocol, text) in
        [(&b"h2"[..], "0 certificates, HTTP/2.0"), (b"http/1.1", "0 certificates, HTTP/1.1")]
    {
        let response = server.ask("HEAD", "/", protocol, None).await.unwrap();
        assert_eq!(response.headers()["content-length"], text.len().to_string());
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{text}");
        let endless = server.ask("HEAD", "/endless", protocol, None).await.unwrap();
        assert!(endless.into_body().collect().await.unwrap().to_bytes().is_empty(), "{text}");
    }
}

#[tokio::test]
async fn both_protocols_and_any_certificate_whose_key_is_held() {
    let server = start(Limits::default()).await;
    assert_eq!(server.get("/", b"h2", None).await.unwrap(), "0 certificates, HTTP/2.0");
    assert_eq!(server.get("/", b"http/1.1", None).await.unwrap(), "0 certificates, HTTP/1.1");
    let stranger = certificate("stranger");
    assert_eq!(server.get("/", b"h2", Some(stranger)).await.unwrap(), "1 certificates, HTTP/2.0");
}

#[tokio::test]
async fn requests_under_way_are_finished_when_it_stops() {
    let server = start(Limits::default()).await;
    let slow = async {
        let answer = server.get("/held", b"h2", None).await;
        assert_eq!(answer.unwrap(), "0 certificates, HTTP/2.0");
    };
    let stop = async {
        HELD.notified().await;
        server.stopping.cancel();
    };
    tokio::join!(slow, stop);
    assert!(server.get("/", b"h2", None).await.is_err(), "no new connection is taken");
    tokio::time::timeout(Duration::from_secs(120), server.task)
        .await
        .expect("it returns once drained")
        .unwrap();
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let server = start(Limits { handshake: Duration::from_millis(100), ..Limits::default() }).await;
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut byte = [0];
    let ended = tokio::io::AsyncReadExt::read(&mut silent, &mut byte);
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(120), ended).await.expect("it is dropped").unwrap(),
        0
    );
}

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let server = start(Limits::default()).await;
    let error = Listener::bind(server.address).await.unwrap_err();
    let ListenError::Bind { address, .. } = &error;
    assert_eq!(*address, server.address);
    assert!(error.to_string().contains("stop what uses the port"), "{error}");
}

#[tokio::test]
async fn a_client_that_asks_nothing_is_dropped_and_one_that_has_asked_is_not() {
    let server = start(Limits { headers: HEADERS, ..Limits::default() }).await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut silent = server.connect(protocol, None).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest);
        // However it ends: cleanly or cut.
        let _ = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("it is dropped");
    }
    assert_eq!(server.get("/slow", b"h2", None).await.unwrap(), "0 certificates, HTTP/2.0");
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_why() {
    // The client below comes to its end; nothing depends on how fast.
    let server = start(Limits { linger: Duration::from_secs(120), ..Limits::default() }).await;
    let mut stream = server.connect(b"http/1.1", None).await.unwrap();
    // More than the sockets of both sides hold: it is still being sent when the answer has gone out.
    let mut request = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-filler: ".to_vec();
    request.resize(32 << 20, b'x');
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.expect("the server takes what comes");
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.expect("the answer, and its end");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut() {
    let server = start(Limits { linger: Duration::from_millis(100), ..Limits::default() }).await;
    let mut stream = server.connect(b"http/1.1", None).await.unwrap();
    let endless = async {
        loop {
            let sent = tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 64 << 10]).await;
            if let Err(error) = sent {
                break error;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), endless).await.expect("it is cut");
}

#[tokio::test]
async fn a_body_is_made_as_fast_as_the_client_reads_it() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect(b"http/1.1", None).await.unwrap();
    let request = b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    // Nobody reads: sockets, TLS and the connection hold what they may, and then nothing is made any more.
    let rest = async {
        let (mut last, mut same) = (0, 0);
        while same < 5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let made = MADE.load(Ordering::Relaxed);
            same = if made > 0 && made == last { same + 1 } else { 0 };
            last = made;
        }
        last
    };
    let last = tokio::time::timeout(Duration::from_secs(120), rest).await.expect("it comes to rest");
    assert!(last < 160, "{last} pieces of {} bytes were made for a client that reads nothing", PIECE.len());
}
