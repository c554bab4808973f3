//! The constructors of failed `Status`es, one per upstream constructor, under the same names.
//!
//! Not a place for decisions: each takes what its sentence needs and nothing else.

use std::fmt::Display;

use super::{Cause, Details, Qualified, Reason, Status};
use crate::field::{FieldError, aggregate, quote};

/// What the store says when a precondition on the resource version fails.
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

const INCONSISTENT_CONTINUE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Status {
    fn failure(code: u16, reason: Reason, message: String, details: Option<Details>) -> Status {
        Status { success: false, code, reason, message, details: details.map(Box::new) }
    }

    pub fn not_found(resource: Qualified<'_>, name: &str) -> Status {
        let message = format!("{resource} {} not found", quote(name));
        Self::failure(404, Reason::NotFound, message, Some(about(resource, name)))
    }

    /// The 404 of a path that leads nowhere.
    pub fn no_such_path() -> Status {
        Self::failure(
            404,
            Reason::NotFound,
            "the server could not find the requested resource".into(),
            Some(Details::default()),
        )
    }

    pub fn already_exists(resource: Qualified<'_>, name: &str) -> Status {
        let message = format!("{resource} {} already exists", quote(name));
        Self::failure(409, Reason::AlreadyExists, message, Some(about(resource, name)))
    }

    /// A generated name that was taken, after every retry.
    pub fn generate_name_conflict(resource: Qualified<'_>, name: &str, retry_after_seconds: u32) -> Status {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Self::failure(
            409,
            Reason::AlreadyExists,
            message,
            Some(Details { retry_after_seconds, ..about(resource, name) }),
        )
    }

    pub fn conflict(resource: Qualified<'_>, name: &str, why: impl Display) -> Status {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name));
        Self::failure(409, Reason::Conflict, message, Some(about(resource, name)))
    }

    /// The conflict of two writers on one resource version.
    pub fn optimistic_lock(resource: Qualified<'_>, name: &str) -> Status {
        Self::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    /// Server-side apply: one cause per field somebody else owns.
    pub fn apply_conflict(causes: Vec<Cause>, message: impl Into<String>) -> Status {
        Self::failure(409, Reason::Conflict, message.into(), Some(Details { causes, ..Details::default() }))
    }

    /// `kind` is group and kind, e.g. `Deployment.apps`.
    pub fn invalid(kind: Qualified<'_>, name: &str, errors: &[FieldError]) -> Status {
        let mut message = format!("{kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&aggregate(errors));
        }
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().into(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        Self::failure(422, Reason::Invalid, message, Some(Details { causes, ..about(kind, name) }))
    }

    pub fn forbidden(resource: Qualified<'_>, name: &str, why: impl Display) -> Status {
        let message = match (resource.name.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", quote(name)),
        };
        Self::failure(403, Reason::Forbidden, message, Some(about(resource, name)))
    }

    /// What the authorizer's "no" looks like for a resource request; see [`Denied`].
    pub fn access_denied(denied: &Denied<'_>) -> Status {
        if !denied.is_resource_request {
            let why = with_reason(
                format!("User {} cannot {} path {}", quote(denied.user), denied.verb, quote(denied.path)),
                denied.reason,
            );
            return Self::forbidden(Qualified { group: "", name: "" }, "", why);
        }
        let resource = Qualified { group: denied.group, name: denied.resource };
        Self::forbidden(resource, denied.name, with_reason(denied.sentence(), denied.reason))
    }

    pub fn unauthorized() -> Status {
        Self::failure(401, Reason::Unauthorized, "Unauthorized".into(), None)
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Self::failure(400, Reason::BadRequest, message.into(), None)
    }

    pub fn method_not_supported(resource: Qualified<'_>, action: &str) -> Status {
        let message =
            format!("{action} is not supported on resources of kind {}", quote(&resource.to_string()));
        Self::failure(405, Reason::MethodNotAllowed, message, Some(about(resource, "")))
    }

    /// The router's own 405: the path exists, the HTTP method does not.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource".into();
        Self::failure(405, Reason::MethodNotAllowed, message, Some(Details::default()))
    }

    /// 410 with reason `Expired`: the resource version is gone; start again.
    pub fn expired(message: impl Into<String>) -> Status {
        Self::failure(410, Reason::Expired, message.into(), None)
    }

    /// The sentence of a watch or list whose revision was compacted.
    pub fn too_old_resource_version(asked: u64, oldest: u64) -> Status {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// A resource version that lies in the future; clients retry it.
    pub fn too_large_resource_version(asked: u64, current: u64, retry_after_seconds: u32) -> Status {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let mut status = Self::timeout(
            format!("Too large resource version: {asked}, current: {current}"),
            retry_after_seconds,
        );
        if let Some(details) = &mut status.details {
            details.causes.push(cause);
        }
        status
    }

    /// 410 in the middle of a paginated list.
    /// A list at exactly a revision that was compacted.
    pub fn list_expired() -> Status {
        Self::expired("The resourceVersion for the provided list is too old.")
    }

    /// A page of a revision that was compacted; `token` goes on with what is there now.
    pub fn continue_expired(token: String) -> Status {
        let details = Details { continue_token: token, ..Details::default() };
        Self::failure(410, Reason::Expired, INCONSISTENT_CONTINUE.into(), Some(details))
    }

    pub fn unsupported_media_type(supported: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::failure(415, Reason::UnsupportedMediaType, message, None)
    }

    pub fn not_acceptable(supported: &[&str]) -> Status {
        let message = format!("only the following media types are accepted: {}", supported.join(", "));
        Self::failure(406, Reason::NotAcceptable, message, None)
    }

    /// A JSON patch that does not fit the object (a failed `test`, a missing path).
    pub fn rejected_patch() -> Status {
        let message = "the server rejected our request due to an error in our request".into();
        Self::failure(422, Reason::Invalid, message, Some(Details::default()))
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(429, Reason::TooManyRequests, message.into(), Some(details))
    }

    pub fn timeout(message: impl Display, retry_after_seconds: u32) -> Status {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(504, Reason::Timeout, format!("Timeout: {message}"), Some(details))
    }

    pub fn server_timeout(resource: Qualified<'_>, operation: &str, retry_after_seconds: u32) -> Status {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Self::failure(
            500,
            Reason::ServerTimeout,
            message,
            Some(Details { retry_after_seconds, ..about(resource, operation) }),
        )
    }

    pub fn service_unavailable(message: impl Into<String>) -> Status {
        Self::failure(503, Reason::ServiceUnavailable, message.into(), None)
    }

    pub fn request_too_large(message: impl Display) -> Status {
        Self::failure(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: {message}"),
            None,
        )
    }

    pub fn internal(error: impl Display) -> Status {
        let text = error.to_string();
        let message = format!("Internal error occurred: {text}");
        let cause = Cause { message: text, ..Cause::default() };
        Self::failure(
            500,
            Reason::InternalError,
            message,
            Some(Details { causes: vec![cause], ..Details::default() }),
        )
    }
}

/// Everything the sentence of a 403 speaks of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Denied<'a> {
    pub user: &'a str,
    pub verb: &'a str,
    pub is_resource_request: bool,
    pub path: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// The authorizer's own words, after a colon.
    pub reason: &'a str,
}

impl Denied<'_> {
    fn sentence(&self) -> String {
        let mut resource = self.resource.to_owned();
        if !self.subresource.is_empty() {
            resource.push('/');
            resource.push_str(self.subresource);
        }
        let whence = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quote(namespace)),
        };
        let (user, resource, group) = (quote(self.user), quote(&resource), quote(self.group));
        format!("User {user} cannot {} resource {resource} in API group {group} {whence}", self.verb)
    }
}

fn with_reason(sentence: String, reason: &str) -> String {
    if reason.is_empty() { sentence } else { format!("{sentence}: {reason}") }
}

fn about(subject: Qualified<'_>, name: &str) -> Details {
    Details {
        name: name.into(),
        group: subject.group.into(),
        kind: subject.name.into(),
        ..Details::default()
    }
}
