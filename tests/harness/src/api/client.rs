//! A client of the API: one TLS connection that is kept, JSON unless one says otherwise.

use std::io::{IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::http::{self, Answer, Wire};

/// How long one answer, or one event of a watch, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Who a client is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nobody.
    None,
    /// A client certificate, PEM.
    Certificate {
        /// The chain.
        chain: String,
        /// Its key.
        key: String,
    },
    /// A bearer token.
    Token(String),
}

/// One who asks the API.
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// Sent with every request.
    headers: Vec<(String, String)>,
    idle: Mutex<Option<Wire>>,
}

impl Client {
    /// Trusts the authorities in `authority` (PEM) alone.
    #[must_use]
    pub fn new(address: SocketAddr, authority: &str, credential: Credential) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots);
        let mut headers = Vec::new();
        let tls = match credential {
            Credential::Certificate { chain, key } => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                    .map(|certificate| certificate.expect("a certificate"))
                    .collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                tls.with_client_auth_cert(chain, key).expect("a certificate with its key")
            }
            Credential::Token(token) => {
                headers.push(("authorization".to_owned(), format!("Bearer {token}")));
                tls.with_no_client_auth()
            }
            Credential::None => tls.with_no_client_auth(),
        };
        Client { address, tls: Arc::new(tls), headers, idle: Mutex::default() }
    }

    /// The same client with a header on every request; it has a connection of its own.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Client {
        let mut headers = self.headers.clone();
        headers.retain(|(known, _)| known != name || name.starts_with("impersonate-"));
        headers.push((name.to_owned(), value.to_owned()));
        Client { address: self.address, tls: self.tls.clone(), headers, idle: Mutex::default() }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"")
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body.to_string().as_bytes())
    }

    /// PUT of JSON.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body.to_string().as_bytes())
    }

    /// PATCH of a kind: `merge`, `strategic-merge` or `json`.
    pub fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let content_type = format!("application/{kind}-patch+json");
        self.send("PATCH", path, &content_type, body.to_string().as_bytes())
    }

    /// DELETE without options.
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", b"")
    }

    /// Any request. A kept connection that has ended meanwhile is replaced once.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let kept = self.idle.lock().expect("no test panics here").take();
        if let Some(mut wire) = kept
            && let Ok(answer) = self.exchange(&mut wire, method, path, content_type, body)
        {
            return answer;
        }
        let mut wire = self.dial();
        match self.exchange(&mut wire, method, path, content_type, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    fn exchange(
        &self,
        wire: &mut Wire,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let address = self.address.to_string();
        let asked = http::ask(wire, &address, method, path, &self.all_headers(content_type), body);
        // A server that has read enough answers, and takes no more: sending fails then, and the answer is there.
        let answer = http::answer(wire).map_err(|error| asked.err().unwrap_or(error))?;
        if answer.keeps {
            // The connection has been read to the end of the answer: the next request may use it.
            let wire = std::mem::replace(wire, Box::new(Closed));
            *self.idle.lock().expect("no test panics here") = Some(wire);
        }
        Ok(answer)
    }

    /// A watch on a connection of its own. Panics unless the server begins one.
    pub fn watch(&self, path: &str) -> Watch {
        match self.try_watch(path) {
            Ok(watch) => watch,
            Err(answer) => panic!("watch {path}: {} {}", answer.code, answer.text()),
        }
    }

    /// A watch, or the refusal.
    pub fn try_watch(&self, path: &str) -> Result<Watch, Answer> {
        let (mut wire, socket) = self.dial_socket();
        http::ask(&mut wire, &self.address.to_string(), "GET", path, &self.all_headers(""), b"")
            .expect("sending a watch");
        let head = http::head(&mut wire).expect("the answer to a watch");
        if head.code == 200 {
            return Ok(Watch { wire, text: Vec::new(), socket });
        }
        Err(http::rest(&mut wire, head).expect("the answer to a watch"))
    }

    /// Begins a request with a body of so many bytes of which none comes; what is answered.
    #[must_use]
    pub fn begin(&self, method: &str, path: &str, length: usize) -> Answer {
        let mut wire = self.dial();
        let head = http::head_of(
            &self.address.to_string(),
            method,
            path,
            &self.all_headers("application/json"),
            length,
        );
        wire.write_all(head.as_bytes()).and_then(|()| wire.flush()).expect("sending the head of a request");
        http::answer(&mut wire).expect("an answer to the head of a request")
    }

    /// Asks, and reads no more than the head of the answer.
    #[must_use]
    pub fn begin_to_read(&self, path: &str) -> Unread {
        let mut wire = self.dial();
        http::ask(&mut wire, &self.address.to_string(), "GET", path, &self.all_headers(""), b"")
            .expect("sending a request");
        let head = http::head(&mut wire).expect("the head of the answer");
        Unread { wire, head }
    }

    /// Asks for an upgrade, sends bytes, and gives as many back as were sent.
    #[must_use]
    pub fn echo(&self, path: &str, protocol: &str, bytes: &[u8]) -> Vec<u8> {
        let mut wire = self.dial();
        let client = self.with("connection", "Upgrade").with("upgrade", protocol);
        http::ask(&mut wire, &self.address.to_string(), "GET", path, &client.all_headers(""), b"")
            .expect("asking for an upgrade");
        let head = http::head(&mut wire).expect("the answer to an upgrade");
        assert_eq!(head.code, 101, "{head:?}");
        wire.write_all(bytes).and_then(|()| wire.flush()).expect("sending over the stream");
        let mut back = vec![0; bytes.len()];
        wire.read_exact(&mut back).expect("the stream's other side");
        back
    }

    fn all_headers(&self, content_type: &str) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "accept") {
            headers.push(("accept".into(), "application/json".into()));
        }
        if !content_type.is_empty() {
            headers.push(("content-type".into(), content_type.into()));
        }
        headers
    }

    fn dial(&self) -> Wire {
        self.dial_socket().0
    }

    fn dial_socket(&self) -> (Wire, TcpStream) {
        let socket = TcpStream::connect(self.address).expect("connecting to the API server");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let name = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(self.tls.clone(), name).expect("a TLS client");
        let same = socket.try_clone().expect("one descriptor more");
        (http::wire(StreamOwned::new(connection, socket)), same)
    }
}

/// An answer whose body nobody has read yet.
pub struct Unread {
    wire: Wire,
    head: Answer,
}

impl Unread {
    /// HTTP status.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.head.code
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it breaks off.
    pub fn rest(mut self) -> std::io::Result<Answer> {
        http::rest(&mut self.wire, self.head)
    }
}

/// The events of a watch.
pub struct Watch {
    wire: Wire,
    text: Vec<u8>,
    socket: TcpStream,
}

impl Watch {
    /// Has the kernel note when bytes arrive.
    pub fn note_arrivals(&self) {
        setsockopt(&self.socket, ReceiveTimestampns, &true).expect("a socket that notes times");
    }

    /// When the bytes that nobody has read yet arrived, since 1970; waits for them.
    #[must_use]
    pub fn arrival(&self) -> Duration {
        let (mut space, mut byte) = (nix::cmsg_space!(TimeSpec), [0]);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_PEEK;
        let received = recvmsg::<()>(self.socket.as_raw_fd(), &mut bytes, Some(&mut space), flags);
        let received = received.expect("bytes of a watch");
        let mut messages = received.cmsgs().expect("whole control messages");
        messages
            .find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                _ => None,
            })
            .expect("a time with the bytes")
    }

    /// The next event; `None` at the stream's end, however it came.
    pub fn next_event(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event in JSON"));
            }
            let chunk = http::chunk(&mut self.wire).ok()?;
            if chunk.is_empty() {
                return None;
            }
            self.text.extend(chunk);
        }
    }

    /// Its connection, the bytes of it that were read and not used, and its socket.
    pub(super) fn into_parts(self) -> (Wire, Vec<u8>, TcpStream) {
        (self.wire, self.text, self.socket)
    }

    /// The next event's type and its object's name.
    pub fn next_named(&mut self) -> (String, String) {
        let event = self.next_event().expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// Stands where a connection was taken away.
struct Closed;

impl Read for Closed {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::NotConnected.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl http::Line for Closed {
    fn line(&mut self) -> std::io::Result<String> {
        Ok(String::new())
    }
}
