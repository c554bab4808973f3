//! One aggregated group version: where it is, whom it is believed by, and what it last said of itself.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use serve::Anybody;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::FrontProxy;
use crate::server::Server;
use crate::user::User;
use crate::webhook::service_address;

/// For a connection to a backend.
const DIAL: Duration = Duration::from_secs(10);
/// For what the aggregator itself asks.
const ASK: Duration = Duration::from_secs(5);
/// The largest answer to that.
const MOST_BYTES: usize = 16 << 20;

/// A backend as it was last looked at.
#[derive(Clone)]
pub struct Backend {
    /// The APIService's name.
    pub name: String,
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Where the group stands among others.
    pub group_priority: i64,
    /// Where the version stands in its group.
    pub version_priority: i64,
    /// Whether it may be asked.
    pub available: bool,
    /// Its APIResourceList, when it last gave one.
    pub resources: Option<Value>,
    /// The relative URL of its OpenAPI v3 document, with its hash.
    pub openapi: Option<String>,
    /// Its OpenAPI v2 document.
    pub swagger: Option<Arc<Value>>,
    suspected: Arc<AtomicBool>,
    namespace: String,
    service: String,
    port: u16,
    tls: TlsConnector,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend")
            .field("name", &self.name)
            .field("available", &self.available)
            .finish_non_exhaustive()
    }
}

impl Backend {
    /// What an APIService with a Service describes; why it cannot be, otherwise.
    pub fn new(api_service: &Value, front_proxy: &FrontProxy) -> Result<Backend, String> {
        let spec = &api_service["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Backend {
            name: text(&api_service["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            available: false,
            resources: None,
            openapi: None,
            swagger: None,
            suspected: Arc::default(),
            namespace: text(&spec["service"]["namespace"]),
            service: text(&spec["service"]["name"]),
            port: spec["service"]["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or(443),
            tls: connector(spec, front_proxy)?,
        })
    }

    /// It did not answer.
    pub(super) fn suspect(&self) {
        self.suspected.store(true, Ordering::Relaxed);
    }

    /// Whether it has not answered since it was looked at.
    pub(super) fn is_suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed)
    }

    /// The name that its certificate is for, and the host of requests.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// A connection to one of its endpoints.
    pub async fn dial(&self, server: &Server) -> Result<TlsStream<TcpStream>, String> {
        let address = service_address(server, &self.namespace, &self.service, self.port)?;
        let name = ServerName::try_from(self.host()).map_err(|error| error.to_string())?;
        let connected = timeout(DIAL, async {
            let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    format!("dial tcp {address}: connect: connection refused")
                }
                _ => format!("dial tcp {address}: {error}"),
            })?;
            let shaken = self.tls.connect(name, stream).await;
            shaken.map_err(|error| format!("tls: failed to verify certificate: {error}"))
        });
        connected.await.map_err(|_| format!("dial tcp {address}: i/o timeout"))?
    }

    /// Asks for a document in our own name. `Ok` with the status code and what came.
    pub async fn ask(&self, server: &Server, path: &str, accept: &str) -> Result<(u16, Bytes), String> {
        let asked = timeout(ASK, async {
            let stream = self.dial(server).await?;
            let failed = |error: hyper::Error| error.to_string();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
                // What goes wrong here shows in the answer.
                let _ = connection.await;
            }));
            let mut request = Request::get(path)
                .header(HOST, self.host())
                .header(ACCEPT, accept)
                .header(USER_AGENT, "keelson-aggregator")
                .body(Empty::<Bytes>::new())
                .map_err(|error| error.to_string())?;
            identify(request.headers_mut(), &ourselves());
            let answer = sender.send_request(request).await.map_err(failed)?;
            let code = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
            Ok((code, body.map_err(|error| error.to_string())?.to_bytes()))
        });
        asked.await.map_err(|_| "context deadline exceeded".to_owned())?
    }
}

/// Who the aggregator is when it asks for itself.
fn ourselves() -> User {
    User { name: "system:kube-aggregator".into(), groups: vec!["system:masters".into()], ..User::default() }
}

/// Writes who asks into the headers, and takes out whoever the client says it is.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) {
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    foreign.into_iter().for_each(|name| drop(headers.remove(name)));
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// A key of `extra` as part of a header's name: percent-encoded where it must be.
fn escaped(key: &str) -> String {
    let mut name = String::new();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => name.push(byte.into()),
            // Writing to a String does not fail.
            byte => drop(write!(name, "%{byte:02x}")),
        }
    }
    name
}

fn connector(spec: &Value, front_proxy: &FrontProxy) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if spec["insecureSkipTLSVerify"] == true {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        let bundle = spec["caBundle"].as_str().unwrap_or_default();
        let bundle = base64::engine::general_purpose::STANDARD.decode(bundle);
        let bundle = bundle.map_err(|error| format!("caBundle: {error}"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle).flatten() {
            // An authority that is none is not trusted; the handshake says so.
            let _ = roots.add(certificate);
        }
        builder.with_root_certificates(roots)
    };
    let (chain, key) = &front_proxy.identity;
    let mut config =
        builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_written_here_alone() {
        let mut headers = HeaderMap::new();
        for name in ["x-remote-user", "x-remote-group", "x-remote-extra-scopes", "accept"] {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("forged"));
        }
        let user = User {
            name: "jane".into(),
            uid: "7".into(),
            groups: vec!["a".into(), "b".into()],
            extra: [("example.com/Scope".to_owned(), vec!["x".to_owned()])].into(),
        };
        identify(&mut headers, &user);
        let all = |name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-uid"), ["7"]);
        assert_eq!(all("x-remote-group"), ["a", "b"]);
        assert_eq!(all("x-remote-extra-example.com%2f%53cope"), ["x"]);
        assert!(all("x-remote-extra-scopes").is_empty());
        assert_eq!(all("accept"), ["forged"]);
    }
}
