//! What a request can end in besides its answer.

use api::status::{Cause, Details, Reason, Status};
use serde_json::Value;

/// Why a request has no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused; its words.
    #[error("{0}")]
    Refused(Box<Status>),
    /// The server cannot be reached or the connection broke. The request may or may not have been done.
    #[error("{server}: {source}")]
    Unreachable {
        /// `host:port`
        server: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. The request may or may not have been done.
    #[error("{server}: no answer to {what} within {seconds} s")]
    TimedOut {
        /// `host:port`
        server: String,
        /// Method and path.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// An answer that is not what the API promises.
    #[error("an answer that cannot be read: {0}")]
    Answer(String),
    /// An answer larger than anything the API sends.
    #[error("an answer larger than {0} bytes")]
    TooLarge(usize),
    /// The credentials cannot be read.
    #[error("credentials: {0}")]
    Credentials(String),
}

impl ClientError {
    /// The server's status, where it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            ClientError::Refused(status) => Some(status),
            _ => None,
        }
    }

    pub fn reason(&self) -> Option<Reason> {
        self.status().map(|status| status.reason)
    }

    pub fn is_not_found(&self) -> bool {
        self.reason() == Some(Reason::NotFound)
    }

    pub fn is_conflict(&self) -> bool {
        self.reason() == Some(Reason::Conflict)
    }

    pub fn already_exists(&self) -> bool {
        self.reason() == Some(Reason::AlreadyExists)
    }

    /// The namespace is being deleted, so nothing can be made in it.
    pub fn namespace_is_terminating(&self) -> bool {
        let details = self.status().and_then(|status| status.details.as_ref());
        details
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// The revision asked for is gone: list again.
    pub fn is_expired(&self) -> bool {
        self.status().is_some_and(|status| {
            status.code == 410 || matches!(status.reason, Reason::Expired | Reason::Gone)
        })
    }
}

/// The status in an error body; what the code alone says where there is none.
pub(crate) fn status_of(code: u16, body: &[u8]) -> Status {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value["kind"] == "Status" => from_value(code, &value),
        _ => {
            let text: String = String::from_utf8_lossy(body).chars().take(LONGEST_TEXT).collect();
            let message =
                if text.is_empty() { format!("the server answered {code}") } else { text.trim().to_owned() };
            Status { success: false, code, reason: Reason::of_code(code), message, details: None }
        }
    }
}

/// Characters of a body that is no status which an error repeats.
const LONGEST_TEXT: usize = 512;

pub(crate) fn from_value(code: u16, value: &Value) -> Status {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code);
    let details = value["details"].as_object().map(|_| {
        let details = &value["details"];
        let causes = details["causes"].as_array().into_iter().flatten();
        Box::new(Details {
            name: text(&details["name"]),
            group: text(&details["group"]),
            kind: text(&details["kind"]),
            uid: text(&details["uid"]),
            causes: causes
                .map(|cause| Cause {
                    reason: text(&cause["reason"]),
                    message: text(&cause["message"]),
                    field: text(&cause["field"]),
                })
                .collect(),
            retry_after_seconds: details["retryAfterSeconds"]
                .as_u64()
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(0),
            continue_token: text(&value["metadata"]["continue"]),
        })
    });
    Status {
        success: value["status"] == "Success",
        code,
        reason: reason(value["reason"].as_str().unwrap_or_default()),
        message: text(&value["message"]),
        details,
    }
}

fn reason(text: &str) -> Reason {
    use Reason as R;
    let known = [
        R::Unauthorized,
        R::Forbidden,
        R::NotFound,
        R::AlreadyExists,
        R::Conflict,
        R::Gone,
        R::Invalid,
        R::ServerTimeout,
        R::Timeout,
        R::TooManyRequests,
        R::BadRequest,
        R::MethodNotAllowed,
        R::NotAcceptable,
        R::RequestEntityTooLarge,
        R::UnsupportedMediaType,
        R::InternalError,
        R::Expired,
        R::ServiceUnavailable,
    ];
    known.into_iter().find(|reason| reason.as_str() == text).unwrap_or(R::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_survive_the_wire() {
        let status =
            Status::conflict(api::status::Qualified { group: "apps", name: "deployments" }, "web", "why");
        let back = status_of(409, status.to_value().to_string().as_bytes());
        assert_eq!(back, status);
        let bare = status_of(502, b"bad gateway\n");
        assert_eq!((bare.code, bare.reason, bare.message.as_str()), (502, Reason::Unknown, "bad gateway"));
    }
}
