//! A webhook on loopback: HTTPS with an authority of its own, one thread, answers made by a function.
//!
//! It ends when it is dropped.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use pki::{Authority, Profile, Usage};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// How long one request may take to arrive.
const LIMIT: Duration = Duration::from_secs(10);

/// A running webhook.
#[derive(Debug)]
pub struct Webhook {
    address: SocketAddr,
    bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    /// Starts one whose answer to a body is `answer`.
    #[must_use]
    pub fn start(answer: impl Fn(&Value) -> Value + Send + 'static) -> Webhook {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs().cast_signed();
        let authority = Authority::create("webhooks", now).expect("an authority");
        let profile = Profile {
            common_name: "webhook".into(),
            organization: None,
            names: vec!["127.0.0.1".into(), "localhost".into()],
            usage: Usage::Server,
            lifetime_seconds: 3600,
        };
        let certificate = authority.issue(&profile, now).expect("a certificate");
        let chain = certificate.chain("webhook").expect("its chain");
        let key = certificate.key("webhook").expect("its key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (asked, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stop, tls) = (asked.clone(), stopping.clone(), Arc::new(tls));
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A client that goes away is its own loss.
                let _ = serve(socket, tls.clone(), &seen, &answer);
            }
        });
        let bundle = base64::engine::general_purpose::STANDARD.encode(authority.certificate_pem());
        Webhook { address, bundle, asked, stopping, thread: Some(thread) }
    }

    /// How the API reaches it.
    #[must_use]
    pub fn client_config(&self) -> Value {
        serde_json::json!({"url": format!("https://{}/ask", self.address), "caBundle": self.bundle})
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("no test panics here").clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How a patch travels in an answer.
#[must_use]
pub fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn serve(
    socket: TcpStream,
    tls: Arc<ServerConfig>,
    seen: &Mutex<Vec<Value>>,
    answer: &impl Fn(&Value) -> Value,
) -> std::io::Result<()> {
    socket.set_read_timeout(Some(LIMIT))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    let body = loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            break bytes[end + 4..].to_vec();
        }
    };
    let question: Value = serde_json::from_slice(&body)?;
    let text = answer(&question).to_string();
    seen.lock().expect("no test panics here").push(question);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    stream.flush()
}
