//! A small extension API server: HTTPS that asks for the front proxy's certificate, a thread per connection, answers made
//! by a function.
//!
//! It ends when it is dropped, and its streams with it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use pki::{Authority, Profile, Usage};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// How often a stream looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    /// Every value of a header.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A code and a document.
    Json(u16, Value),
    /// Lines that come one by one; then the stream stays open.
    Stream(Vec<Value>),
    /// 101, and every byte comes back.
    Echo,
}

/// A running extension API server.
#[derive(Debug)]
pub struct Extension {
    address: SocketAddr,
    bundle: String,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// An address of this machine that is not loopback; nothing is sent to find it.
#[must_use]
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

impl Extension {
    /// Starts one at `address`, certified for `name`, that believes clients of `front_proxy` (PEM) alone.
    #[must_use]
    pub fn start(
        address: IpAddr,
        name: &str,
        front_proxy: &str,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Extension {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs().cast_signed();
        let authority = Authority::create("extensions", now).expect("an authority");
        let profile = Profile {
            common_name: "extension".into(),
            organization: None,
            names: vec![name.into()],
            usage: Usage::Server,
            lifetime_seconds: 3600,
        };
        let certificate = authority.issue(&profile, now).expect("a certificate");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(front_proxy.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .expect("who is believed");
        let chain = certificate.chain("extension").expect("its chain");
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, certificate.key("extension").expect("its key"))
            .expect("a certificate with its key");
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, tls, answer) = (stopping.clone(), Arc::new(tls), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            let mut served = Vec::new();
            for socket in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                let (stop, tls, answer) = (stop.clone(), tls.clone(), answer.clone());
                served.push(std::thread::spawn(move || {
                    // A client that goes away is its own loss.
                    let _ = serve(socket, tls, &*answer, &stop);
                }));
            }
            for thread in served {
                let _ = thread.join();
            }
        });
        let bundle = base64::engine::general_purpose::STANDARD.encode(authority.certificate_pem());
        Extension { address, bundle, stopping, thread: Some(thread) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its authority, as an APIService's `caBundle`.
    #[must_use]
    pub fn bundle(&self) -> &str {
        &self.bundle
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    stopping: &AtomicBool,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let Some(asked) = read(&mut stream)? else { return Ok(()) };
    match answer(&asked) {
        Reply::Json(code, document) => {
            let text = document.to_string();
            write!(
                stream,
                "HTTP/1.1 {code} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            )?;
            stream.flush()
        }
        Reply::Stream(lines) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
            )?;
            for line in lines {
                let line = format!("{line}\n");
                write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
                stream.flush()?;
                std::thread::sleep(LOOK);
            }
            while !stopping.load(Ordering::Acquire) {
                std::thread::sleep(LOOK);
            }
            Ok(())
        }
        Reply::Echo => {
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n"
            )?;
            stream.flush()?;
            let mut chunk = [0; 4096];
            loop {
                let count = stream.read(&mut chunk)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&chunk[..count])?;
                stream.flush()?;
            }
        }
    }
}

/// The head of a request; bodies are not read.
fn read(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Ok(Some(Asked { method: method.into(), path: path.into(), headers }))
}
