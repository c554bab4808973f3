//! Requests: one method per verb, values in, values out.
//!
//! Not retries of refused writes: whoever wrote knows whether the reason still holds. A request that found the
//! connection closed before it was sent is sent once more on a new one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::error::status_of;
use crate::kubeconfig::Identity;
use crate::resource::escape;
use crate::{ClientError, Config, Resource, Surroundings};

/// The largest answer taken into memory: a page of a list.
pub(crate) const LARGEST_ANSWER: usize = 256 << 20;
/// How long an answer may take; the server's own limit is a minute.
const ANSWER: Duration = Duration::from_secs(70);

/// One identity at one server; clones share the connection.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    connection: Connection,
    credentials: Credentials,
    surroundings: Surroundings,
    /// Sent as User-Agent.
    program: String,
}

/// A patch, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7396
    Merge,
    /// By the kinds' merge keys.
    Strategic,
    /// RFC 6902
    Json,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
            Patch::Json => "application/json-patch+json",
        }
    }
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

impl Client {
    /// `program` names the part in the server's logs.
    pub fn new(config: Config, program: &str, surroundings: Surroundings) -> Result<Client, ClientError> {
        let credentials = Credentials::of(&config.identity);
        Client::with(config, credentials, program, surroundings)
    }

    /// A client that acts as a ServiceAccount, with tokens requested by this one; the account is made where it is missing.
    pub fn acting_as(&self, namespace: &str, account: &str) -> Result<Client, ClientError> {
        let credentials = Credentials::Account {
            client: self.clone(),
            namespace: namespace.to_owned(),
            name: account.to_owned(),
            held: tokio::sync::Mutex::new(None),
        };
        let program = format!("{}/{account}", self.shared.program);
        Client::with(self.shared.config.anonymous(), credentials, &program, self.shared.surroundings)
    }

    fn with(
        config: Config,
        credentials: Credentials,
        program: &str,
        surroundings: Surroundings,
    ) -> Result<Client, ClientError> {
        let connection = Connection::new(&config, surroundings)?;
        Ok(Client::on(connection, config, credentials, program, surroundings))
    }

    /// Asks a server without a credential and without knowing whether it is the right one: only for what is
    /// checked by other means.
    pub fn of_stranger(
        config: &Config,
        program: &str,
        surroundings: Surroundings,
    ) -> Result<Client, ClientError> {
        let config = config.anonymous();
        let connection = Connection::to_stranger(&config, surroundings)?;
        Ok(Client::on(connection, config, Credentials::None, program, surroundings))
    }

    fn on(
        connection: Connection,
        config: Config,
        credentials: Credentials,
        program: &str,
        surroundings: Surroundings,
    ) -> Client {
        Client {
            shared: Arc::new(Shared {
                config,
                connection,
                credentials,
                surroundings,
                program: program.into(),
            }),
        }
    }

    pub fn surroundings(&self) -> Surroundings {
        self.shared.surroundings
    }

    pub async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Value, ClientError> {
        self.value(Method::GET, &resource.object(namespace, name), None).await
    }

    /// Any path: discovery, health.
    pub async fn get_path(&self, path: &str) -> Result<Value, ClientError> {
        self.value(Method::GET, path, None).await
    }

    pub async fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        object: &Value,
    ) -> Result<Value, ClientError> {
        self.value(Method::POST, &resource.collection(namespace), Some(object)).await
    }

    /// `token`, `binding`, `eviction`.
    pub async fn create_subresource(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        object: &Value,
    ) -> Result<Value, ClientError> {
        let path = format!("{}/{subresource}", resource.object(namespace, name));
        self.value(Method::POST, &path, Some(object)).await
    }

    /// Replaces an object by its own namespace and name. Its resourceVersion, where it has one, must be the current one.
    pub async fn update(&self, resource: &Resource, object: &Value) -> Result<Value, ClientError> {
        self.value(Method::PUT, &own_path(resource, object), Some(object)).await
    }

    /// `status`, `scale`, `finalize`.
    pub async fn update_subresource(
        &self,
        resource: &Resource,
        subresource: &str,
        object: &Value,
    ) -> Result<Value, ClientError> {
        let path = format!("{}/{subresource}", own_path(resource, object));
        self.value(Method::PUT, &path, Some(object)).await
    }

    pub async fn patch(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        kind: Patch,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        self.patch_path(&resource.object(namespace, name), kind, patch).await
    }

    pub async fn patch_subresource(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: Patch,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        self.patch_path(&format!("{}/{subresource}", resource.object(namespace, name)), kind, patch).await
    }

    async fn patch_path(&self, path: &str, kind: Patch, patch: &Value) -> Result<Value, ClientError> {
        let body = Bytes::from(patch.to_string());
        parsed(&self.bytes(Method::PATCH, path, Some((kind.content_type(), body))).await?)
    }

    /// Deletes; with a UID only if the object is still that one.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        propagation: Option<Propagation>,
    ) -> Result<Value, ClientError> {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(uid) = uid {
            options["preconditions"] = json!({"uid": uid});
        }
        if let Some(propagation) = propagation {
            options["propagationPolicy"] = propagation.as_str().into();
        }
        self.delete_with(resource, namespace, name, &options).await
    }

    /// Deletes with options of one's own, such as a grace period.
    pub async fn delete_with(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &Value,
    ) -> Result<Value, ClientError> {
        self.value(Method::DELETE, &resource.object(namespace, name), Some(options)).await
    }

    /// Deletes every object of a kind in a namespace.
    pub async fn delete_collection(&self, resource: &Resource, namespace: &str) -> Result<(), ClientError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        let body = Bytes::from(options.to_string());
        let path = resource.collection(namespace);
        self.bytes(Method::DELETE, &path, Some(("application/json", body))).await.map(drop)
    }

    /// One page of a list: the answer's bytes.
    pub(crate) async fn list_page(
        &self,
        resource: &Resource,
        namespace: &str,
        query: &[(&str, &str)],
    ) -> Result<Bytes, ClientError> {
        self.bytes(Method::GET, &with_query(&resource.collection(namespace), query), None).await
    }

    /// The current list of a kind, all pages in one value; `query` may hold selectors.
    pub async fn list(
        &self,
        resource: &Resource,
        namespace: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, ClientError> {
        const PAGE: &str = "500";
        let mut whole: Option<Value> = None;
        let mut token = String::new();
        loop {
            let mut words = query.to_vec();
            words.push(("limit", PAGE));
            if !token.is_empty() {
                words.push(("continue", &token));
            }
            let mut page = parsed(&self.list_page(resource, namespace, &words).await?)?;
            let next = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => {
                    let more = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                    if let Some(items) = whole["items"].as_array_mut() {
                        items.extend(more);
                    }
                }
            }
            if next.is_empty() {
                return Ok(whole.unwrap_or_default());
            }
            token = next;
        }
    }

    /// Opens a watch; its body is read by [`crate::Watch`].
    pub(crate) async fn stream(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        let sent = timeout(ANSWER, self.send(Method::GET, path, None)).await;
        let response = sent.map_err(|_| self.too_late(&Method::GET, path))??;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let refusal = status_of(code, &self.collect(response).await?);
        if code == StatusCode::UNAUTHORIZED.as_u16() {
            self.refused().await;
        }
        Err(ClientError::Refused(Box::new(refusal)))
    }

    /// Our credential is not believed (any more): the next request shows what is newer.
    async fn refused(&self) {
        self.shared.credentials.refused().await;
        if matches!(self.shared.config.identity, Identity::Files { .. }) {
            self.shared.connection.forget().await;
        }
    }

    async fn value(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let body = body.map(|body| ("application/json", Bytes::from(body.to_string())));
        parsed(&self.bytes(method, path, body).await?)
    }

    fn bytes<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        body: Option<(&'a str, Bytes)>,
    ) -> BoxFuture<'a, Result<Bytes, ClientError>> {
        // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
        Box::pin(async move {
            let answered = timeout(ANSWER, async {
                let response = self.send(method.clone(), path, body).await?;
                let code = response.status();
                Ok::<_, ClientError>((code, self.collect(response).await?))
            });
            let (code, body) = answered.await.map_err(|_| self.too_late(&method, path))??;
            if code.is_success() {
                return Ok(body);
            }
            if code == StatusCode::UNAUTHORIZED {
                self.refused().await;
            }
            Err(ClientError::Refused(Box::new(status_of(code.as_u16(), &body))))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response<Incoming>, ClientError> {
        let token = self.shared.credentials.token().await?;
        let connection = &self.shared.connection;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", connection.host()))
            .header(HOST, connection.host())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, &self.shared.program);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((content_type, _)) = &body {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        let body = Full::new(body.map(|(_, body)| body).unwrap_or_default());
        let mut request = request.body(body).map_err(|error| ClientError::Credentials(error.to_string()))?;
        // A connection may close between looking and sending; what was never sent is sent once more.
        for _ in 0..2 {
            let mut sender = connection.sender().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(connection.unreachable(failed.into_error())),
                },
            }
        }
        Err(connection.unreachable("the connection is closed as soon as it is made"))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(ClientError::TooLarge(LARGEST_ANSWER))
            }
            Err(error) => Err(self.shared.connection.unreachable(error)),
        }
    }

    pub(crate) fn broken(&self, error: hyper::Error) -> ClientError {
        self.shared.connection.unreachable(error)
    }

    fn too_late(&self, method: &Method, path: &str) -> ClientError {
        ClientError::TimedOut {
            server: self.shared.connection.host().to_owned(),
            what: format!("{method} {path}"),
            seconds: ANSWER.as_secs(),
        }
    }
}

fn own_path(resource: &Resource, object: &Value) -> String {
    let meta = api::meta::Meta::of(object);
    resource.object(meta.namespace(), meta.name())
}

fn parsed(bytes: &[u8]) -> Result<Value, ClientError> {
    serde_json::from_slice(bytes).map_err(|error| ClientError::Answer(error.to_string()))
}

pub(crate) fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut whole = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        whole.push_str(name);
        whole.push('=');
        whole.push_str(&escape(value));
    }
    whole
}
