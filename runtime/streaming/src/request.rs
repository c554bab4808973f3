//! What a session shall do, as CRI's Exec, Attach and PortForward ask for it.
//!
//! The texts of [`RequestError`] are those that kubelet and crictl know from other runtimes.

/// Any of the three, as the server keeps it until the client comes with its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

/// Run a command in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    pub container: String,
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Join the streams of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachRequest {
    pub container: String,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Connect to ports inside a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortForwardRequest {
    pub sandbox: String,
    /// Only the older WebSocket protocol reads these; the others name a port for each connection.
    pub ports: Vec<u16>,
}

/// Why there is no URL. All are the caller's fault (gRPC INVALID_ARGUMENT), except
/// [`RequestError::TooManyInFlight`] (RESOURCE_EXHAUSTED) and [`RequestError::Entropy`] (INTERNAL).
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("missing required container_id")]
    NoContainer,
    #[error("missing required pod_sandbox_id")]
    NoSandbox,
    #[error("tty and stderr cannot both be true")]
    TerminalWithStderr,
    #[error("one of stdin, stdout, or stderr must be set")]
    NoStreams,
    #[error("maximum number of in-flight requests exceeded")]
    TooManyInFlight,
    #[error("the kernel gave no random bytes for a token")]
    Entropy(#[source] std::io::Error),
}

/// Which streams a session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

// === impl Request ===

impl Request {
    /// Refuses what cannot be served, before a token is given out.
    pub fn validate(&self) -> Result<(), RequestError> {
        match self {
            Request::Exec(exec) => exec.streams().validate(&exec.container),
            Request::Attach(attach) => attach.streams().validate(&attach.container),
            Request::PortForward(forward) if forward.sandbox.is_empty() => Err(RequestError::NoSandbox),
            Request::PortForward(_) => Ok(()),
        }
    }
}

impl ExecRequest {
    pub fn streams(&self) -> Streams {
        Streams { tty: self.tty, stdin: self.stdin, stdout: self.stdout, stderr: self.stderr }
    }
}

impl AttachRequest {
    pub fn streams(&self) -> Streams {
        Streams { tty: self.tty, stdin: self.stdin, stdout: self.stdout, stderr: self.stderr }
    }
}

// === impl Streams ===

impl Streams {
    fn validate(self, container: &str) -> Result<(), RequestError> {
        if container.is_empty() {
            return Err(RequestError::NoContainer);
        }
        if self.tty && self.stderr {
            return Err(RequestError::TerminalWithStderr);
        }
        if !(self.stdin || self.stdout || self.stderr) {
            return Err(RequestError::NoStreams);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_refused_with_the_words_other_runtimes_use() {
        let exec = |container: &str, tty, stdin, stdout, stderr| {
            let container = container.to_string();
            Request::Exec(ExecRequest { container, command: vec![], tty, stdin, stdout, stderr })
        };
        let forward = |sandbox: &str| {
            Request::PortForward(PortForwardRequest { sandbox: sandbox.into(), ports: vec![] })
        };
        let check = |request: Request, expect: &str| {
            let got = request.validate().map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(got, expect, "{request:?}");
        };
        check(exec("c", false, false, true, true), "");
        check(exec("c", true, true, true, false), "");
        check(exec("", false, false, true, false), "missing required container_id");
        check(exec("c", true, true, true, true), "tty and stderr cannot both be true");
        check(exec("c", false, false, false, false), "one of stdin, stdout, or stderr must be set");
        check(forward("s"), "");
        check(forward(""), "missing required pod_sandbox_id");
    }
}
