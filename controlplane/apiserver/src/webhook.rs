//! Asks a webhook: one POST of JSON over TLS, at a URL or at a Service, within a time and up to a size.
//!
//! A Service is reached at one of its ready endpoints, so that the API needs no node's data path; without any, at its
//! cluster IP. Names in URLs are looked up as the host does (`host_names`), within the same time.
//!
//! Not what is asked (`admission::webhooks`, `conversion`). Reference: `WebhookClientConfig`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::server::Server;

/// The largest answer.
const MOST_BYTES: usize = 3 << 20;
/// Authorities of webhooks that name none.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("Post \"{url}\": {why}")]
pub struct CallError {
    url: String,
    why: String,
}

/// Where a webhook is.
struct Target {
    place: Place,
    /// The name that its certificate is for.
    name: String,
    /// As it is shown, without a query.
    url: String,
    path: String,
}

/// How its address is found.
enum Place {
    /// A Service's endpoint.
    At(SocketAddr),
    /// A host of a URL.
    Named(String, u16),
}

/// Posts `body` and reads the JSON that comes back.
pub async fn call(
    server: &Server,
    config: &Value,
    timeout: Duration,
    body: &Value,
) -> Result<Value, CallError> {
    let mut target = target(server, config).map_err(|why| CallError { url: shown(config), why })?;
    let query = format!("?timeout={}s", timeout.as_secs());
    target.url.push_str(&query);
    target.path.push_str(&query);
    let failed = |why: String| CallError { url: target.url.clone(), why };
    let tls = connector(config).map_err(failed)?;
    let asked = ask(&target, tls, Bytes::from(body.to_string()));
    let bytes = tokio::time::timeout(timeout, asked)
        .await
        .map_err(|_| failed("context deadline exceeded".into()))?
        .map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(format!("the answer is no JSON: {error}")))
}

async fn ask(target: &Target, tls: TlsConnector, body: Bytes) -> Result<Bytes, String> {
    let stream = dial(&target.place).await?;
    let name = ServerName::try_from(target.name.clone()).map_err(|error| error.to_string())?;
    let stream = tls
        .connect(name, stream)
        .await
        .map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong here shows in the answer.
        let _ = connection.await;
    }));
    let request = http::Request::post(target.path.as_str())
        .header(HOST, target.name.as_str())
        .header(ACCEPT, "application/json, */*")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), MOST_BYTES)
        .collect()
        .await
        .map_err(|error| format!("reading the answer: {error}"))?
        .to_bytes();
    if !status.is_success() {
        return Err(format!("the server answered {status}"));
    }
    Ok(bytes)
}

/// The first of the host's addresses that answers.
async fn dial(place: &Place) -> Result<TcpStream, String> {
    let addresses = match place {
        Place::At(address) => vec![*address],
        Place::Named(host, port) => host_names::addresses(host, *port)
            .await
            .map_err(|error| format!("dial tcp: lookup {host}: {error}"))?,
    };
    let mut failed = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let why = match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
                    _ => error.to_string(),
                };
                failed.get_or_insert(format!("dial tcp {address}: {why}"));
            }
        }
    }
    Err(failed.unwrap_or_else(|| "the host has no address".into()))
}

fn connector(config: &Value) -> Result<TlsConnector, String> {
    let bundle = match config["caBundle"].as_str().filter(|bundle| !bundle.is_empty()) {
        Some(bundle) => base64::engine::general_purpose::STANDARD
            .decode(bundle)
            .map_err(|error| format!("caBundle: {error}"))?,
        None => std::fs::read(SYSTEM_AUTHORITIES).unwrap_or_default(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle).flatten() {
        // An authority that is none is not trusted; the handshake says so.
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

fn shown(config: &Value) -> String {
    match config["url"].as_str() {
        Some(url) => url.to_owned(),
        None => {
            let (name, namespace) = (text(&config["service"], "name"), text(&config["service"], "namespace"));
            let port = config["service"]["port"].as_i64().unwrap_or(443);
            format!("https://{name}.{namespace}.svc:{port}{}", path(&config["service"]))
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn path(service: &Value) -> String {
    let path = text(service, "path");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn target(server: &Server, config: &Value) -> Result<Target, String> {
    if let Some(url) = config["url"].as_str() {
        return by_url(url);
    }
    let service = &config["service"];
    let (name, namespace) = (text(service, "name"), text(service, "namespace"));
    let port = u16::try_from(service["port"].as_i64().unwrap_or(443)).map_err(|error| error.to_string())?;
    let address = service_address(server, namespace, name, port)?;
    let url = shown(config);
    Ok(Target {
        place: Place::At(address),
        name: format!("{name}.{namespace}.svc"),
        url,
        path: path(service),
    })
}

fn by_url(url: &str) -> Result<Target, String> {
    let rest = url.strip_prefix("https://").ok_or("only https is allowed")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse::<u16>().map_err(|_| format!("invalid port {port:?}"))?)
        }
        _ => (authority, 443),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    let place = Place::Named(host.to_owned(), port);
    Ok(Target { place, name: host.to_owned(), url: url.to_owned(), path })
}

/// Where a port of a Service is served: at a ready endpoint, else at its cluster IP.
pub fn service_address(
    server: &Server,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<SocketAddr, String> {
    let missing = || format!("service \"{name}\" not found");
    let services = server.caches.named("", "services").ok_or_else(missing)?;
    let service = services.get(&format!("{namespace}/{name}")).ok_or_else(missing)?.value();
    let port_name = port_name(&service, port)?;
    if let Some(address) = ready_endpoint(server, namespace, name, &port_name) {
        return Ok(address);
    }
    match text(&service["spec"], "clusterIP").parse::<IpAddr>() {
        Ok(address) => Ok((address, port).into()),
        Err(_) => Err(no_endpoints(name)),
    }
}

/// A ready endpoint behind a port of a Service, by the port's name or number; without either the port without a name.
pub fn service_endpoint(server: &Server, service: &Value, port: &str) -> Result<SocketAddr, String> {
    let [namespace, name] = ["namespace", "name"].map(|field| text(&service["metadata"], field));
    let port_name = match port.parse() {
        Ok(number) => port_name(service, number)?,
        Err(_) => port.to_owned(),
    };
    ready_endpoint(server, namespace, name, &port_name).ok_or_else(|| no_endpoints(name))
}

fn no_endpoints(service: &str) -> String {
    format!("no endpoints available for service \"{service}\"")
}

fn port_name(service: &Value, port: u16) -> Result<String, String> {
    let ports = service["spec"]["ports"].as_array();
    let row = ports.into_iter().flatten().find(|row| row["port"].as_u64() == Some(port.into()));
    let name = || text(&service["metadata"], "name");
    let row = row.ok_or_else(|| format!("no service port {port} found for service \"{}\"", name()))?;
    Ok(text(row, "name").to_owned())
}

/// One of the ready endpoints, drawn.
fn ready_endpoint(server: &Server, namespace: &str, name: &str, port: &str) -> Option<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    let slices = server.caches.named("discovery.k8s.io", "endpointslices");
    for slice in slices.map(|slices| slices.list(namespace).0).unwrap_or_default() {
        if slice.labels.get("kubernetes.io/service-name").is_none_or(|of| of != name) {
            continue;
        }
        let slice = slice.value();
        let named = |row: &&Value| text(row, "name") == port;
        let Some(target) = slice["ports"].as_array().into_iter().flatten().find(named) else { continue };
        let Some(target) = target["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] != false {
                let addresses = endpoint["addresses"].as_array().into_iter().flatten();
                let parsed = addresses.filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
                found.extend(parsed.map(|address| SocketAddr::from((address, target))));
            }
        }
    }
    let at = server.random(found.len().max(1) as u64) as usize;
    found.get(at.min(found.len().saturating_sub(1))).copied()
}
