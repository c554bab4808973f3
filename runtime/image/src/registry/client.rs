//! One repository as one caller sees it: requests to its hosts, with log-in and redirects.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use super::auth::{self, Challenge};
use super::connect::{ConnectError, Connections, Endpoint};
use super::hosts::{self, Host, HostsError, Trust};
use crate::credentials::Credentials;
use crate::reference::Reference;

const REDIRECTS_MAX: usize = 5;
/// Bytes of a token server's answer, and of an error.
const ANSWER_MAX: usize = 1 << 20;
/// Of an error's text that is shown.
const REASON_MAX: usize = 300;
/// Between two pieces of a body.
pub const BODY_SILENCE: Duration = Duration::from_secs(60);
const AGENT: &str = concat!("keelson/", env!("CARGO_PKG_VERSION"));

/// A repository and the hosts that may serve it.
pub struct Repository {
    registry: String,
    repository: String,
    hosts: Vec<Host>,
    credentials: Option<Credentials>,
    connections: Connections,
    /// Authorization headers by host, once a challenge was answered.
    authorized: Mutex<HashMap<usize, HeaderValue>>,
}

/// What is asked of a host, below the repository.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `manifests/latest`, `blobs/sha256:...`.
    pub what: &'a str,
    pub accept: &'a str,
    /// The first byte wanted.
    pub from: u64,
}

/// Why a host did not serve.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("not found")]
    NotFound,
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("status {status}{}", shown(.reason))]
    Status { status: StatusCode, reason: String },
    #[error("{0}")]
    Protocol(String),
}

/// A URL taken apart.
struct Target {
    endpoint: Endpoint,
    path: String,
}

// === impl Repository ===

impl Repository {
    /// # Errors
    /// When the hosts file is wrong.
    pub fn open(
        registries: &Path,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Repository, HostsError> {
        Ok(Repository {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            hosts: hosts::hosts(registries, reference.registry())?,
            credentials: credentials.filter(|c| !c.is_empty()),
            connections: Connections::default(),
            authorized: Mutex::default(),
        })
    }

    /// In the order they are asked.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Asks one host. The response is 200 or 206.
    pub async fn ask(&self, host: usize, ask: Ask<'_>) -> Result<Response<Incoming>, AskError> {
        let known = self.authorized.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned();
        let response = self.follow(host, ask, known.or_else(|| self.registry_token(host))).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return accept(response).await;
        }
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::strongest(headers.iter().filter_map(|value| value.to_str().ok()));
        let reason = reason(response).await;
        let Some(challenge) = challenge else {
            return Err(AskError::Denied(format!("401 without a usable challenge{}", shown(&reason))));
        };
        let authorization = self.log_in(host, challenge, &reason).await?;
        self.authorized.lock().unwrap_or_else(PoisonError::into_inner).insert(host, authorization.clone());
        accept(self.follow(host, ask, Some(authorization)).await?).await
    }

    /// Sends something to the registry itself, which is the last host, and gives its answer whatever it says. Nothing
    /// is redirected: content and credentials go where the reference says.
    pub async fn tell(
        &self,
        method: Method,
        to: &str,
        headers: &[(HeaderName, String)],
        content: Bytes,
    ) -> Result<Response<Incoming>, AskError> {
        let host = self.hosts.iter().rposition(|host| host.pushes);
        let host = host.ok_or_else(|| AskError::Denied("no host may be pushed to".to_owned()))?;
        let known = self.authorized.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned();
        let known = known.or_else(|| self.registry_token(host));
        let response = self.told(host, &method, to, headers, content.clone(), known).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::strongest(challenges.iter().filter_map(|value| value.to_str().ok()));
        let reason = reason(response).await;
        let Some(challenge) = challenge else {
            return Err(AskError::Denied(format!("401 without a usable challenge{}", shown(&reason))));
        };
        let authorization = self.log_in(host, challenge, &reason).await?;
        self.authorized.lock().unwrap_or_else(PoisonError::into_inner).insert(host, authorization.clone());
        self.told(host, &method, to, headers, content, Some(authorization)).await
    }

    async fn told(
        &self,
        host: usize,
        method: &Method,
        to: &str,
        more: &[(HeaderName, String)],
        content: Bytes,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, AskError> {
        let server = &self.hosts[host];
        let endpoint = Endpoint::from(server);
        // A place to upload to that the registry named; it must be its own.
        let target = match Target::parse(to) {
            Some(target) if target.endpoint != endpoint => {
                return Err(AskError::Protocol(format!("uploads are sent elsewhere: {to:?}")));
            }
            Some(target) => target,
            None if to.starts_with('/') => Target { endpoint, path: to.to_owned() },
            None => Target { endpoint, path: format!("{}/{}/{to}", server.path, self.repository) },
        };
        let mut headers = HeaderMap::new();
        own_headers(server, &mut headers)?;
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        for (name, value) in more {
            headers.insert(name.clone(), header(value)?);
        }
        let request = request(method.clone(), &target, headers, content)?;
        Ok(self.connections.send(&target.endpoint, &server.trust, request).await?)
    }

    /// Sends the request and follows redirects; what is meant for the host stays with it.
    async fn follow(
        &self,
        host: usize,
        ask: Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, AskError> {
        let server = &self.hosts[host];
        let home = Endpoint::from(server);
        let mut path = format!("{}/{}/{}", server.path, self.repository, ask.what);
        if !server.upstream {
            path.push_str(&format!("?ns={}", auth::escape(&self.registry)));
        }
        let mut target = Target { endpoint: home.clone(), path };
        for _ in 0..=REDIRECTS_MAX {
            let at_home = target.endpoint == home;
            let mut headers = HeaderMap::new();
            if at_home {
                own_headers(server, &mut headers)?;
                if let Some(authorization) = &authorization {
                    headers.insert(AUTHORIZATION, authorization.clone());
                }
            }
            headers.insert(ACCEPT, header(ask.accept)?);
            if ask.from > 0 {
                headers.insert(RANGE, header(&format!("bytes={}-", ask.from))?);
            }
            // Elsewhere the host's authorities still count, its client certificate does not.
            let trust =
                if at_home { server.trust.clone() } else { Trust { client: None, ..server.trust.clone() } };
            let request = request(Method::GET, &target, headers, Bytes::new())?;
            let response = self.connections.send(&target.endpoint, &trust, request).await?;
            if !at_home && response.status() == StatusCode::UNAUTHORIZED {
                // Its challenge would name where the host's credentials are sent.
                let name = &target.endpoint.name;
                return Err(AskError::Denied(format!("{name}, where it redirects to, wants a log-in")));
            }
            if !response.status().is_redirection() {
                return Ok(response);
            }
            target = redirect(&target, &response)?;
        }
        Err(AskError::Protocol(format!("more than {REDIRECTS_MAX} redirects")))
    }

    /// What this host may see of the caller's credentials.
    fn credentials(&self, host: usize) -> Option<&Credentials> {
        let host = &self.hosts[host];
        let credentials = self.credentials.as_ref().filter(|_| host.upstream)?;
        let address = credentials.server_address.as_str();
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        let address = address.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let hub = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let meant = address.is_empty()
            || address == host.authority()
            || address == self.registry
            || (hub(&address) && hub(&host.name));
        meant.then_some(credentials)
    }

    fn registry_token(&self, host: usize) -> Option<HeaderValue> {
        let token = &self.credentials(host)?.registry_token;
        (!token.is_empty()).then(|| secret(&format!("Bearer {token}"))).flatten()
    }

    async fn log_in(&self, host: usize, challenge: Challenge, reason: &str) -> Result<HeaderValue, AskError> {
        let credentials = self.credentials(host);
        match challenge {
            Challenge::Basic => {
                let header = credentials.and_then(Credentials::basic_header);
                let header =
                    header.ok_or_else(|| AskError::Denied(format!("credentials wanted{}", shown(reason))))?;
                secret(&header).ok_or_else(|| AskError::Denied("unusable credentials".to_owned()))
            }
            Challenge::Bearer { realm, service, scope } => {
                // A challenge names the rights that the refused request lacked, a push among them.
                let scope =
                    if scope.is_empty() { format!("repository:{}:pull", self.repository) } else { scope };
                let token = self.token(host, &realm, &service, &scope).await?;
                secret(&format!("Bearer {token}"))
                    .ok_or_else(|| AskError::Protocol("an unusable token".to_owned()))
            }
        }
    }

    async fn token(&self, host: usize, realm: &str, service: &str, scope: &str) -> Result<String, AskError> {
        let server = &self.hosts[host];
        let mut target =
            Target::parse(realm).ok_or_else(|| AskError::Protocol(format!("realm {realm:?} is no URL")))?;
        if server.secure && !target.endpoint.secure {
            return Err(AskError::Protocol(format!("realm {realm:?} is not https")));
        }
        let credentials = self.credentials(host);
        let mut headers = HeaderMap::new();
        let identity = credentials.filter(|c| !c.identity_token.is_empty());
        let request = if let Some(credentials) = identity {
            headers.insert(CONTENT_TYPE, header("application/x-www-form-urlencoded")?);
            let form = auth::refresh_form(credentials, service, scope);
            request(Method::POST, &target, headers, Bytes::from(form))?
        } else {
            if let Some(basic) = credentials.and_then(Credentials::basic_header).as_deref().and_then(secret) {
                headers.insert(AUTHORIZATION, basic);
            }
            let query = auth::token_query(service, scope);
            let query = if target.path.contains('?') { query.replacen('?', "&", 1) } else { query };
            target.path.push_str(&query);
            request(Method::GET, &target, headers, Bytes::new())?
        };
        let response = self.connections.send(&target.endpoint, &server.trust, request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let text = reason(response).await;
            let said = format!("the token server {} answered {status}{}", target.endpoint.name, shown(&text));
            let denied =
                matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST);
            return Err(if denied { AskError::Denied(said) } else { AskError::Protocol(said) });
        }
        let answer = body(response, ANSWER_MAX).await?;
        auth::token(&answer).ok_or_else(|| AskError::Protocol("the token server sent no token".to_owned()))
    }
}

/// Reads a whole body of bounded length.
pub async fn body(response: Response<Incoming>, most: usize) -> Result<Bytes, AskError> {
    let read = Limited::new(response.into_body(), most).collect();
    let read = tokio::time::timeout(BODY_SILENCE, read).await;
    let read = read.map_err(|_| AskError::Connect(ConnectError::Silent(BODY_SILENCE)))?;
    read.map(|all| all.to_bytes()).map_err(|error| AskError::Protocol(error.to_string()))
}

pub(super) async fn accept(response: Response<Incoming>) -> Result<Response<Incoming>, AskError> {
    let status = response.status();
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::NOT_FOUND => Err(AskError::NotFound),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(AskError::Denied(format!("status {status}{}", shown(&reason(response).await))))
        }
        _ => Err(AskError::Status { status, reason: reason(response).await }),
    }
}

/// What the server says about an error, in one line of bounded length.
async fn reason(response: Response<Incoming>) -> String {
    let Ok(text) = body(response, ANSWER_MAX).await else { return String::new() };
    let message = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|json| {
        let first = &json["errors"][0];
        let said = first["message"].as_str().filter(|m| !m.is_empty()).or_else(|| first["code"].as_str())?;
        Some(said.to_owned())
    });
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

fn shown(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn own_headers(host: &Host, headers: &mut HeaderMap) -> Result<(), AskError> {
    for (name, value) in &host.headers {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| AskError::Protocol(format!("hosts.toml: {name:?} cannot be a header")))?;
        let mut value = header(value)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(())
}

fn request(
    method: Method,
    target: &Target,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, AskError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = target
        .path
        .parse::<Uri>()
        .map_err(|_| AskError::Protocol(format!("{:?} is no path", target.path)))?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(HOST, header(&target.endpoint.authority())?);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Ok(request)
}

fn redirect(from: &Target, response: &Response<Incoming>) -> Result<Target, AskError> {
    let wrong = || AskError::Protocol("a redirect to nowhere".to_owned());
    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).ok_or_else(wrong)?;
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(Target { endpoint: from.endpoint.clone(), path: location.to_owned() });
    }
    let target = Target::parse(location).ok_or_else(wrong)?;
    if from.endpoint.secure && !target.endpoint.secure {
        return Err(AskError::Protocol("a redirect from https to http".to_owned()));
    }
    Ok(target)
}

fn header(text: &str) -> Result<HeaderValue, AskError> {
    HeaderValue::from_str(text)
        .map_err(|_| AskError::Protocol("a header value with control characters".to_owned()))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// === impl Target ===

impl Target {
    fn parse(url: &str) -> Option<Target> {
        let uri: Uri = url.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let name = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Some(Target { endpoint: Endpoint { secure, name, port }, path })
    }
}
