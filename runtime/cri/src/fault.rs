//! What a call can fail with, and the one table that turns it into a gRPC status.
//!
//! Texts follow containerd's where clients are known to read them. A cause is printed once, here, as a
//! chain; nothing below logs what it returns.
//!
//! Reference: gRPC status codes; containerd's errgrpc mapping.

use std::error::Error;
use std::fmt;

use tonic::{Code, Status};

/// A failed call, by what the caller can do about it.
#[derive(Debug)]
pub enum Fault {
    /// No container, sandbox or image of that name.
    NotFound(String),
    /// The name or the object is taken.
    AlreadyExists(String),
    /// The request itself is wrong; repeating it cannot help.
    Invalid(String),
    /// Right request, wrong state: not running, not ready.
    Precondition(String),
    /// A caller's deadline, such as ExecSync's timeout.
    Deadline(String),
    /// Access to a registry was refused.
    Denied(String),
    /// Something to try again later: too many sessions, network not configured yet.
    Busy(String),
    /// The daemon is being stopped; what was asked may be done or not.
    Stopping,
    /// Part of the interface that this runtime does not serve.
    Unsupported(String),
    /// Anything else: what was done, and why it failed.
    Failed { doing: String, source: Box<dyn Error + Send + Sync> },
}

/// The answer of every operation here.
pub type Outcome<T> = Result<T, Fault>;

/// Gives a failure its context: `.doing(|| format!("pinning namespaces of {id}"))`.
pub trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|source| Fault::Failed { doing: what(), source: source.into() })
    }
}

// === impl Fault ===

impl Fault {
    /// containerd's words, which crictl and the conformance tests match.
    pub fn no_container(id: &str) -> Fault {
        Fault::NotFound(format!("an error occurred when try to find container {id:?}: not found"))
    }

    pub fn no_sandbox(id: &str) -> Fault {
        Fault::NotFound(format!("an error occurred when try to find sandbox {id:?}: not found"))
    }

    pub fn invalid(text: impl Into<String>) -> Fault {
        Fault::Invalid(text.into())
    }

    pub fn failed(doing: impl Into<String>, why: impl Into<Box<dyn Error + Send + Sync>>) -> Fault {
        Fault::Failed { doing: doing.into(), source: why.into() }
    }

    /// The mapping table.
    fn code(&self) -> Code {
        match self {
            Fault::NotFound(_) => Code::NotFound,
            Fault::AlreadyExists(_) => Code::AlreadyExists,
            Fault::Invalid(_) => Code::InvalidArgument,
            Fault::Precondition(_) => Code::FailedPrecondition,
            Fault::Deadline(_) => Code::DeadlineExceeded,
            Fault::Denied(_) => Code::PermissionDenied,
            Fault::Busy(_) => Code::ResourceExhausted,
            Fault::Stopping => Code::Unavailable,
            Fault::Unsupported(_) => Code::Unimplemented,
            Fault::Failed { .. } => Code::Unknown,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotFound(text)
            | Fault::AlreadyExists(text)
            | Fault::Invalid(text)
            | Fault::Precondition(text)
            | Fault::Deadline(text)
            | Fault::Denied(text)
            | Fault::Busy(text)
            | Fault::Unsupported(text) => f.write_str(text),
            Fault::Stopping => f.write_str("the runtime is stopping: ask again when it is back"),
            Fault::Failed { doing, source } => {
                f.write_str(doing)?;
                let mut next: Option<&dyn Error> = Some(source.as_ref());
                while let Some(error) = next {
                    write!(f, ": {error}")?;
                    next = error.source();
                }
                Ok(())
            }
        }
    }
}

impl Error for Fault {}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::new(fault.code(), fault.to_string())
    }
}

impl From<streaming::RequestError> for Fault {
    fn from(error: streaming::RequestError) -> Fault {
        match error {
            streaming::RequestError::TooManyInFlight => Fault::Busy(error.to_string()),
            streaming::RequestError::Entropy(_) => Fault::failed("making a streaming URL", error),
            _ => Fault::Invalid(error.to_string()),
        }
    }
}

impl From<image::PullError> for Fault {
    fn from(error: image::PullError) -> Fault {
        use image::PullError::{Denied, NotFound, Reference, Unsupported};
        match &error {
            Reference(_) => Fault::Invalid(error.to_string()),
            NotFound { .. } => Fault::NotFound(error.to_string()),
            Denied { .. } => Fault::Denied(error.to_string()),
            Unsupported { .. } => Fault::Precondition(error.to_string()),
            _ => Fault::failed("pulling", error),
        }
    }
}

impl From<image::StoreError> for Fault {
    fn from(error: image::StoreError) -> Fault {
        match &error {
            image::StoreError::NoImage(_) => Fault::NotFound(error.to_string()),
            image::StoreError::Ambiguous(_) => Fault::Invalid(error.to_string()),
            _ => Fault::failed("image store", error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_codes_and_print_a_chain_once() {
        let cause = std::io::Error::other("disk on fire");
        let table = [
            (Fault::no_container("x"), Code::NotFound, "container \"x\": not found"),
            (Fault::invalid("no name"), Code::InvalidArgument, "no name"),
            (Fault::Stopping, Code::Unavailable, "when it is back"),
            (Fault::failed("writing a record", cause), Code::Unknown, "writing a record: disk on fire"),
        ];
        for (fault, code, part) in table {
            let status = Status::from(fault);
            assert_eq!(status.code(), code);
            assert!(status.message().ends_with(part), "{status:?}");
        }
    }
}
