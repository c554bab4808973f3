//! From HTTP to verbs: the order in which a request is taken apart, and where it goes.
//!
//! ```text
//!   limits ─► who (authentication) ─► audit ─► impersonation ─► a seat (fairness) ─► may they (authorization) ─► body
//!          ─► verb ─► answer
//! ```

use std::sync::Arc;

use api::kind::{Kind, Verb};
use api::path::{Query, RequestInfo};
use api::status::Status;
use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serve::ConnInfo;

use crate::answer::{Answer, Body, Form, compress, status_response};
use crate::api_server::ApiServer;
use crate::audit::{Asked, Trail};
use crate::body;
use crate::connect::Wire;
use crate::fairness::{self, Seat};
use crate::request::{Mark, Request, Warnings};
use crate::user::User;
use crate::{
    aggregation, allotted, component_status, connect, documents, handover, impersonation, registry, reviews,
    subresource,
};

/// What the audit is told of an authorization, in upstream's words.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

impl serve::Handler for ApiServer {
    async fn handle(
        self: Arc<Self>,
        connection: ConnInfo,
        request: http::Request<Incoming>,
    ) -> Response<Body> {
        let now = self.server.now();
        let (mut head, body) = request.into_parts();
        let upgrade = head.extensions.remove();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let info = match RequestInfo::parse(head.method.as_str(), head.uri.path(), &query) {
            Ok(info) => info,
            Err(error) => return status_response(&Status::bad_request(error.to_string()), Form::JSON),
        };
        let form =
            match Form::negotiate(&head.headers, &query, info.verb == Verb::Watch, self.is_custom(&info)) {
                Ok(form) => form,
                // Documents have forms of their own.
                Err(_) if !info.is_resource_request => Form::JSON,
                Err(status) => return status_response(&status, Form::JSON),
            };
        let trail = |user: &User| self.trail(&connection, user, &info, &head);
        let user = match self.authenticator.user(&self.server, &connection, &head.headers) {
            Ok(user) => user,
            Err(status) => {
                trail(&User::default()).unauthenticated(&status);
                return status_response(&status, form);
            }
        };
        let trail = trail(&user);
        let wire = Wire { method: head.method, uri: head.uri, body, upgrade };
        let warnings = Warnings::default();
        let headers = head.headers;
        let accepted = headers.get(ACCEPT_ENCODING).cloned();
        let request = Request {
            info,
            query,
            headers,
            user,
            form,
            now,
            warnings: warnings.clone(),
            trail: trail.clone(),
            mark: Mark::default(),
        };
        let lasts = fairness::is_long_running(&request.info);
        let (seat, answered) = self.in_turn(request, wire).await;
        let mut response = match answered {
            Ok(answer) => respond(answer.warn(warnings.take()), trail, form, now),
            Err(status) => {
                trail.failed(&status);
                named(status_response(&status, form), &trail)
            }
        };
        seat.mark(response.headers_mut());
        let response = compress(response, accepted.as_ref());
        let goes_on = lasts || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if goes_on { response } else { allotted::held(response, seat, self.request_timeout) }
    }
}

/// The response, with its end in the audit: at once, or with the last byte of a stream.
fn respond(answer: Answer, trail: Trail, form: Form, now: jiff::Timestamp) -> Response<Body> {
    if trail.id().is_none() {
        return answer.respond(form, now);
    }
    if trail.wants_response() {
        trail.answered(answer.told(now));
    }
    if let Answer::Status(status) = &answer
        && !status.success
    {
        trail.failed(status);
    }
    let streams = matches!(answer, Answer::Watch { .. } | Answer::Raw(_));
    let response = named(answer.respond(form, now), &trail);
    let code = response.status().as_u16();
    if !streams {
        trail.complete(code);
        return response;
    }
    trail.started(code);
    response.map(|body| {
        body.map_frame(move |frame| {
            // Kept until the body goes.
            let _ = &trail;
            frame
        })
        .boxed_unsync()
    })
}

/// Tells the client how its request is called in the audit.
fn named(mut response: Response<Body>, trail: &Trail) -> Response<Body> {
    if let Some(id) = trail.id().and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert("audit-id", id);
    }
    response
}

impl ApiServer {
    /// Begins the trail of a request.
    fn trail(
        &self,
        connection: &ConnInfo,
        user: &User,
        info: &RequestInfo,
        head: &http::request::Parts,
    ) -> Trail {
        let Some(audit) = &self.audit else { return Trail::default() };
        let uri = head.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let (id, clock) = (self.server.uid(), self.server.clock.clone());
        audit.begin(&Asked { peer: connection.peer, user, info, uri, headers: &head.headers, id, clock })
    }

    /// Whether a request is about custom resources themselves.
    fn is_custom(&self, info: &RequestInfo) -> bool {
        let kind = || self.server.registry.by_resource(&info.group, &info.version, &info.resource);
        info.is_resource_request && info.subresource != "scale" && kind().is_some_and(|kind| kind.is_custom())
    }

    /// Answers when there is a seat. A watch has begun when this returns, and needs none any more.
    async fn in_turn(&self, request: Request, wire: Wire) -> (Seat, Result<Answer, Status>) {
        let request = match impersonation::apply(self, request) {
            Ok(request) => request,
            Err(status) => return (Seat::default(), Err(status)),
        };
        let (seat, entered) = self.fairness.enter(&self.server.caches, &request.user, &request.info).await;
        match entered {
            Ok(()) if fairness::is_long_running(&request.info) => (seat, self.answer(request, wire).await),
            Ok(()) => {
                let answered = tokio::time::timeout(self.request_timeout, self.answer(request, wire)).await;
                (seat, answered.unwrap_or_else(|_| Err(allotted::too_late())))
            }
            Err(status) => (seat, Err(status)),
        }
    }

    async fn answer(&self, request: Request, wire: Wire) -> Result<Answer, Status> {
        let required = self.server.authorizer.require(&self.server.caches, &request.user, &request.info);
        request.trail.annotate(DECISION, || if required.is_ok() { "allow" } else { "forbid" }.to_owned());
        let reason = required?;
        request.trail.annotate(REASON, || reason);
        if let Some(backend) = self.aggregation.route(&request.info.path) {
            return aggregation::proxy(self, &request, &backend, wire).await;
        }
        if !request.info.is_resource_request {
            if request.info.path == handover::PATH {
                return handover::answer(self, &request).await;
            }
            return documents::answer(self, &request).await;
        }
        let info = &request.info;
        let kind = self
            .server
            .registry
            .by_resource(&info.group, &info.version, &info.resource)
            .ok_or_else(Status::no_such_path)?;
        if !is_path_of(info, kind) {
            return Err(Status::no_such_path());
        }
        if let Some(custom) = kind.custom() {
            custom.deprecation().into_iter().for_each(|sentence| request.warn(sentence.to_owned()));
            if info.verb == Verb::Create && info.subresource.is_empty() && custom.is_terminating() {
                let mut status = Status::method_not_supported(kind.qualified_resource(), "create");
                status.message =
                    "create not allowed while custom resource definition is terminating".to_owned();
                return Err(status);
            }
        }
        if let Some(row) = kind.subresource(&info.subresource).filter(|row| row.connects) {
            if !row.verbs.contains(&info.verb) {
                return Err(Status::method_not_supported(kind.qualified_resource(), info.verb.as_str()));
            }
            self.server.admit_connect(&request, kind, row).await?;
            return connect::connect(self, &request, kind, row, wire).await;
        }
        let body = match info.verb {
            Verb::Get | Verb::List | Verb::Watch => Bytes::new(),
            _ => body::read(wire.body).await?,
        };
        request.trail.sent(kind, &info.subresource, body::content_type(&request), &body);
        if info.subresource.is_empty() {
            self.object_verb(&request, kind, body).await
        } else {
            self.subresource_verb(&request, kind, body).await
        }
    }

    async fn object_verb(
        &self,
        request: &Request,
        kind: &'static Kind,
        body: Bytes,
    ) -> Result<Answer, Status> {
        let verb = request.info.verb;
        // A create names nothing in its path: a role's resourceNames would cover a name that the body need not have.
        let named_create = verb == Verb::Create && !request.info.name.is_empty();
        let nameless_change = matches!(verb, Verb::Update | Verb::Patch) && request.info.name.is_empty();
        if nameless_change {
            return Err(Status::method_not_allowed());
        }
        if verb.as_str().is_empty() {
            return Err(Status::method_not_allowed());
        }
        if named_create || !kind.serves(verb) {
            return Err(Status::method_not_supported(kind.qualified_resource(), verb.as_str()));
        }
        let server = &self.server;
        match verb {
            // What is only answered has no columns.
            Verb::Create if kind.storage.is_none() && request.form.is_table() => {
                Err(Status::not_acceptable(&[
                    "application/json",
                    "application/yaml",
                    "application/vnd.kubernetes.protobuf",
                ]))
            }
            Verb::Create if kind.group.is_empty() && kind.resource == "bindings" => {
                subresource::binding::create_named(server, request, kind, body).await
            }
            Verb::Create if kind.storage.is_none() => reviews::create(self, request, kind, &body),
            Verb::Create => registry::create(server, request, kind, body).await,
            Verb::Get if kind.storage.is_none() => component_status::get(server, request, kind),
            Verb::List if kind.storage.is_none() => Ok(component_status::list(server, kind)),
            Verb::Get => registry::get(server, request, kind).await,
            Verb::List => registry::list(server, request, kind).await,
            Verb::Watch => registry::watch(server, request, kind).await,
            Verb::Update => registry::update(server, request, kind, body).await,
            Verb::Patch => registry::patch(server, request, kind, body).await,
            Verb::Delete => registry::delete(server, request, kind, body).await,
            Verb::DeleteCollection => registry::delete_collection(server, request, kind, body).await,
            verb => Err(Status::method_not_supported(kind.qualified_resource(), verb.as_str())),
        }
    }

    async fn subresource_verb(
        &self,
        request: &Request,
        kind: &'static Kind,
        body: Bytes,
    ) -> Result<Answer, Status> {
        let info = &request.info;
        let row = kind.subresource(&info.subresource).ok_or_else(Status::no_such_path)?;
        if !row.verbs.contains(&info.verb) {
            return Err(Status::method_not_supported(kind.qualified_resource(), info.verb.as_str()));
        }
        let server = &self.server;
        match (row.name, info.verb) {
            ("status" | "approval" | "ephemeralcontainers" | "resize", Verb::Get) => {
                registry::get(server, request, kind).await
            }
            ("scale", Verb::Get) => subresource::scale::get(server, request, kind).await,
            ("scale", Verb::Update) => subresource::scale::update(server, request, kind, body).await,
            ("scale", Verb::Patch) => subresource::scale::patch(server, request, kind, body).await,
            ("binding", Verb::Create) => subresource::binding::create(server, request, kind, body).await,
            ("eviction", Verb::Create) => subresource::eviction::create(server, request, kind, body).await,
            ("token", Verb::Create) => {
                subresource::token::create(server, &self.authenticator, request, kind, &body).await
            }
            ("status" | "approval" | "finalize" | "ephemeralcontainers" | "resize", Verb::Update) => {
                registry::update(server, request, kind, body).await
            }
            ("status" | "approval" | "ephemeralcontainers" | "resize", Verb::Patch) => {
                registry::patch(server, request, kind, body).await
            }
            _ => Err(Status::method_not_supported(kind.qualified_resource(), info.verb.as_str())),
        }
    }
}

/// Whether a kind has objects at such a path. What was authorized in a namespace must not reach an object
/// outside of every namespace.
fn is_path_of(info: &RequestInfo, kind: &Kind) -> bool {
    if kind.namespaced {
        return !info.namespace.is_empty() || matches!(info.verb, Verb::List | Verb::Watch);
    }
    // A namespace lies in itself: `/api/v1/namespaces/x`.
    let is_namespace = kind.group.is_empty() && kind.resource == "namespaces";
    info.namespace.is_empty() || (is_namespace && info.name == info.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kind::Registry;

    #[test]
    fn nothing_outside_of_namespaces_is_reached_through_one() {
        for (method, path, served) in [
            ("GET", "/api/v1/nodes/n", true),
            ("GET", "/api/v1/namespaces/x/nodes/n", false),
            ("GET", "/api/v1/watch/namespaces/x/nodes", false),
            ("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/x/clusterrolebindings", false),
            ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", true),
            ("GET", "/api/v1/namespaces/x", true),
            ("PUT", "/api/v1/namespaces/x/finalize", true),
            ("GET", "/api/v1/namespaces", true),
            ("DELETE", "/api/v1/namespaces/x/namespaces/y", false),
            ("POST", "/api/v1/namespaces/x/namespaces", false),
            ("GET", "/api/v1/pods", true),
            ("GET", "/api/v1/namespaces/x/pods/p", true),
            ("GET", "/api/v1/pods/p", false),
            ("DELETE", "/api/v1/pods", false),
        ] {
            let info = RequestInfo::parse(method, path, &Query::parse("")).unwrap();
            let kind = Registry::builtin().by_resource(&info.group, &info.version, &info.resource).unwrap();
            assert_eq!(is_path_of(&info, kind), served, "{method} {path}");
        }
    }
}
