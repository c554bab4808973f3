//! HTTP: a GET whose status is 200 to 399. Over HTTPS nobody's certificate is verified.
//!
//! Redirects within the same host are followed, at most ten; one to another host is as good as success and told
//! of. Every request has a connection of its own, so that a probe is what a new client would see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::ServerName;
use serve::Anybody;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::address::dial_error;
use super::attempt::shown;
use super::track::Outcome;

const AGENT: &str = "kube-probe/1.36";
const MOST_REDIRECTS: usize = 10;
/// How much of a body is read.
const MOST_BODY: usize = 10 * 1024;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct Url {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) address: SocketAddr,
    /// With the query; begins with a slash.
    pub(super) path: String,
}

/// A path as it goes into a request.
pub(super) fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

pub(super) async fn attempt(url: Url, headers: &[(String, String)], limit: Duration) -> Outcome {
    let first = url.to_string();
    match timeout(limit, follow(url, headers)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!(
            "Get \"{first}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(mut url: Url, headers: &[(String, String)]) -> Outcome {
    for _ in 0..=MOST_REDIRECTS {
        let answer = match get(&url, headers).await {
            Ok(answer) => answer,
            Err(why) => return Outcome::Failure(format!("Get \"{url}\": {why}")),
        };
        let status = answer.status;
        if !status.is_redirection() {
            return match status.is_success() {
                true => Outcome::Success,
                false => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
            };
        }
        let Some(location) = answer.location else { return Outcome::Success };
        match url.redirected(&location) {
            Some(next) => url = next,
            None => {
                let body = shown(&answer.body);
                return Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"));
            }
        }
    }
    Outcome::Failure(format!("Get \"{url}\": stopped after {MOST_REDIRECTS} redirects"))
}

struct Answer {
    status: StatusCode,
    /// Where a redirect leads that can be followed.
    location: Option<String>,
    body: Vec<u8>,
}

async fn get(url: &Url, headers: &[(String, String)]) -> Result<Answer, String> {
    let stream = TcpStream::connect(url.address).await.map_err(|error| dial_error(url.address, &error))?;
    if !url.https {
        return send(stream, url, headers).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|error| error.to_string())?;
    let stream = unverified()?.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    send(stream, url, headers).await
}

async fn send<T>(stream: T, url: &Url, headers: &[(String, String)]) -> Result<Answer, String>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request =
        Request::get(&url.path).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    *request.headers_mut() = url.headers(headers);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong here shows in the answer.
        let _ = connection.await;
    }));
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let status = answer.status();
    let mut body = Vec::new();
    let mut incoming = answer.into_body();
    while let Some(Ok(frame)) = incoming.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        body.extend_from_slice(&data);
        if body.len() >= MOST_BODY {
            break;
        }
    }
    Ok(Answer { status, location, body })
}

impl Url {
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.address.port())
    }

    fn headers(&self, given: &[(String, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            // Validated by the API; what is no header is left out.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        let mut default = |name: HeaderName, value: &str| {
            if let (false, Ok(value)) = (headers.contains_key(&name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        };
        default(HOST, &self.authority());
        default(USER_AGENT, AGENT);
        default(ACCEPT, "*/*");
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers
    }

    /// Where a redirect leads; none where that is another host.
    fn redirected(&self, location: &str) -> Option<Url> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Url { path: location.to_owned(), ..self.clone() });
        }
        let to: Uri = location.parse().ok()?;
        let host = to.host()?.trim_start_matches('[').trim_end_matches(']');
        if host != self.host {
            return None;
        }
        let https = match to.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return None,
        };
        let port = to.port_u16().unwrap_or(if https { 443 } else { 80 });
        let path = to.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Url { https, host: self.host.clone(), address: SocketAddr::new(self.address.ip(), port), path })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A probe asks whether something answers, not who it is.
fn unverified() -> Result<TlsConnector, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
