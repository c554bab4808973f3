//! The last word of a session, on its error stream: how the command ended.
//!
//! Since v4 it is JSON in the shape of metav1.Status, before that the bare text of a failure and nothing
//! at all for success. An exit code travels as reason NonZeroExitCode with a cause ExitCode.

use serde::{Deserialize, Serialize};

use crate::backend::StreamError;

const SUCCESS: &str = "Success";
const FAILURE: &str = "Failure";
const NON_ZERO_EXIT_CODE: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";
const INTERNAL_ERROR: &str = "InternalError";

/// What is sent. Fields that are empty are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    #[serde(skip_serializing_if = "is_zero")]
    pub code: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    pub causes: Vec<Cause>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The type of the cause; metav1.StatusCause calls it so.
    pub reason: String,
    pub message: String,
}

/// How a session ended, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exited(i32),
    Failed(String),
}

// === impl Status ===

impl Status {
    pub fn success() -> Status {
        Status { status: SUCCESS.into(), ..Status::default() }
    }

    /// How an exec ended.
    pub fn of_exec(result: &Result<i32, StreamError>) -> Status {
        match result {
            Ok(0) => Status::success(),
            Ok(code) => Status {
                status: FAILURE.into(),
                message: format!("command terminated with non-zero exit code: exit code {code}"),
                reason: NON_ZERO_EXIT_CODE.into(),
                details: Some(Details {
                    causes: vec![Cause { reason: EXIT_CODE.into(), message: code.to_string() }],
                }),
                code: 0,
            },
            Err(error) => Status::internal(&format!("error executing command in container: {error}")),
        }
    }

    /// How an attach ended.
    pub fn of_attach(result: &Result<(), StreamError>) -> Status {
        match result {
            Ok(()) => Status::success(),
            Err(error) => Status::internal(&format!("error attaching to container: {error}")),
        }
    }

    /// The bytes for the error stream; empty where there is nothing to say.
    pub fn encode(&self, json: bool) -> Vec<u8> {
        if json {
            return serde_json::to_vec(self).unwrap_or_default();
        }
        if self.status == SUCCESS { Vec::new() } else { self.message.clone().into_bytes() }
    }

    fn internal(text: &str) -> Status {
        Status {
            status: FAILURE.into(),
            message: format!("Internal error occurred: {text}"),
            reason: INTERNAL_ERROR.into(),
            details: None,
            code: 500,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Reads what came on the error stream. Nothing at all means success.
    pub fn decode(bytes: &[u8], json: bool) -> Outcome {
        if bytes.is_empty() {
            return Outcome::Exited(0);
        }
        if !json {
            return Outcome::Failed(String::from_utf8_lossy(bytes).into_owned());
        }
        let Ok(status) = serde_json::from_slice::<Status>(bytes) else {
            let text = String::from_utf8_lossy(bytes);
            return Outcome::Failed(format!("error stream protocol error: not a status: {text:?}"));
        };
        match (status.status.as_str(), status.reason.as_str()) {
            (SUCCESS, _) => Outcome::Exited(0),
            (FAILURE, NON_ZERO_EXIT_CODE) => {
                let causes = status.details.unwrap_or_default().causes;
                let code = causes.iter().find(|cause| cause.reason == EXIT_CODE);
                match code.and_then(|cause| cause.message.parse().ok()) {
                    Some(code) => Outcome::Exited(code),
                    None => Outcome::Failed("error stream protocol error: no valid ExitCode cause".into()),
                }
            }
            (FAILURE, _) => Outcome::Failed(status.message),
            _ => Outcome::Failed("error stream protocol error: unknown error".into()),
        }
    }
}

fn is_zero(code: &i32) -> bool {
    *code == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_shape_that_clients_parse() {
        let check = |status: Status, json: &str, text: &str, outcome: Outcome| {
            assert_eq!(String::from_utf8_lossy(&status.encode(true)), json);
            assert_eq!(String::from_utf8_lossy(&status.encode(false)), text);
            assert_eq!(Outcome::decode(&status.encode(true), true), outcome);
        };
        check(Status::of_exec(&Ok(0)), r#"{"status":"Success"}"#, "", Outcome::Exited(0));
        check(
            Status::of_exec(&Ok(3)),
            r#"{"status":"Failure","message":"command terminated with non-zero exit code: exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
            "command terminated with non-zero exit code: exit code 3",
            Outcome::Exited(3),
        );
        let text = "Internal error occurred: error executing command in container: no such file";
        check(
            Status::of_exec(&Err(StreamError::Failed("no such file".into()))),
            &format!(r#"{{"status":"Failure","message":"{text}","reason":"InternalError","code":500}}"#),
            text,
            Outcome::Failed(text.into()),
        );
        let text = "Internal error occurred: error attaching to container: c1 not found";
        check(
            Status::of_attach(&Err(StreamError::NotFound("c1".into()))),
            &format!(r#"{{"status":"Failure","message":"{text}","reason":"InternalError","code":500}}"#),
            text,
            Outcome::Failed(text.into()),
        );
    }

    #[test]
    fn statuses_of_other_servers_are_understood() {
        let check = |bytes: &str, json, expect: Outcome| {
            assert_eq!(Outcome::decode(bytes.as_bytes(), json), expect, "{bytes}");
        };
        check("", true, Outcome::Exited(0));
        check(r#"{"metadata":{},"status":"Success"}"#, true, Outcome::Exited(0));
        check("it broke", false, Outcome::Failed("it broke".into()));
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
            true,
            Outcome::Failed("error stream protocol error: no valid ExitCode cause".into()),
        );
        check("{}", true, Outcome::Failed("error stream protocol error: unknown error".into()));
        check("x", true, Outcome::Failed("error stream protocol error: not a status: \"x\"".into()));
    }
}
