//! What the plugin and the node's agent say to each other over `net.sock`.
//!
//! ```text
//! plugin ── {"version":1,"call":"register","endpoint":{...}}\n ──▶ agent
//! plugin ◀── {"version":1}\n   or   {"version":1,"error":{"code":11,"msg":"...","details":"..."}}\n ── agent
//! ```
//!
//! One call per connection, one line each way; [`AgentCall::Announce`] may go before it, and is not answered. Errors have CNI's codes, so the plugin passes them on as they are.
//!
//! **Invariants.** A side reads what is [`OLDEST_VERSION`] to [`VERSION`]; a member it does not know is skipped, so
//! members may be added without a new version. A line is at most [`LINE_BYTES_MAX`] long.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Attachment, CniError, Code, PortMapping};

/// The version that is written.
pub const VERSION: u32 = 1;
/// The oldest version that is read.
pub const OLDEST_VERSION: u32 = 1;
/// The socket's name in the state folder.
pub const SOCKET: &str = "net.sock";
/// A thousand host ports and every attachment of a full node fit.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a plugin asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub enum AgentCall {
    /// A pod is about to be wired, and will be registered over the same connection: time to ask about it.
    Announce { link: String, pod: PodName },
    /// A pod is wired: let packets through. Answered when they are let through. Repeated: the same answer.
    Register { endpoint: Endpoint },
    /// A pod goes. Nothing there is success.
    Unregister { network: String, attachment: Attachment },
    /// Is it still as it was registered?
    Check { endpoint: Endpoint },
    /// Could a pod be registered now?
    Status { network: String },
    /// These are all the attachments of the network.
    Gc { network: String, valid: Vec<Attachment> },
}

/// A pod's connection as the plugin made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: String,
    pub attachment: Attachment,
    /// Path of the pod's network namespace, for people.
    pub netns: String,
    /// The namespace's cookie; 0: unknown.
    #[serde(default)]
    pub netns_cookie: u64,
    /// The host's end of the link.
    pub link: String,
    pub link_index: u32,
    /// Ethernet addresses of both ends.
    pub host_mac: String,
    pub pod_mac: String,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Empty where the runtime does not say: bare cnitool.
    #[serde(default)]
    pub pod: PodName,
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
}

/// Whose connection it is: K8S_POD_* of CNI_ARGS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodName {
    /// Reads the variables that every CRI runtime gives.
    #[must_use]
    pub fn of_args(args: &[(String, String)]) -> PodName {
        let value = |name: &str| {
            let found = args.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        PodName {
            namespace: value("K8S_POD_NAMESPACE"),
            name: value("K8S_POD_NAME"),
            uid: value("K8S_POD_UID"),
        }
    }
}

/// The line of a call, without its end.
#[must_use]
pub fn write_call(call: &AgentCall) -> String {
    let mut object = json!(call);
    object["version"] = json!(VERSION);
    object.to_string()
}

/// Reads a call; the error is what to answer.
pub fn read_call(line: &[u8]) -> Result<AgentCall, CniError> {
    let object = read(line, "a call")?;
    serde_json::from_value(object)
        .map_err(|error| CniError::new(Code::Decode, format!("a call that the agent cannot read: {error}")))
}

/// The line of an answer, without its end.
#[must_use]
pub fn write_answer(answer: &Result<(), CniError>) -> String {
    let mut object = json!({"version": VERSION});
    if let Err(error) = answer {
        object["error"] = json!({"code": error.code, "msg": error.msg, "details": error.details});
    }
    object.to_string()
}

/// Reads an answer: what the agent said, or why it cannot be understood.
pub fn read_answer(line: &[u8]) -> Result<(), CniError> {
    let object = read(line, "an answer")?;
    match object.get("error") {
        None => Ok(()),
        Some(error) => Err(CniError::parse(error.to_string().as_bytes()).unwrap_or_else(|misfit| {
            CniError::new(Code::Decode, format!("an answer of the agent that cannot be read: {misfit}"))
        })),
    }
}

fn read(line: &[u8], what: &str) -> Result<Value, CniError> {
    let object: Value = serde_json::from_slice(line)
        .map_err(|error| CniError::new(Code::Decode, format!("{what} on net.sock is not JSON: {error}")))?;
    let version = object.get("version").and_then(Value::as_u64).unwrap_or(0);
    let known = u64::from(OLDEST_VERSION)..=u64::from(VERSION);
    if known.contains(&version) {
        return Ok(object);
    }
    let msg = format!("{what} on net.sock has version {version}");
    let details = format!(
        "this side speaks {OLDEST_VERSION} to {VERSION}: plugin and agent must be of neighbouring releases"
    );
    Err(CniError::new(Code::IncompatibleVersion, msg).details(details))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            network: "pods".to_owned(),
            attachment: Attachment { container: "c1".to_owned(), ifname: "eth0".to_owned() },
            netns: "/run/netns/x".to_owned(),
            netns_cookie: u64::MAX,
            link: "kn4d12418f9cc9".to_owned(),
            link_index: 7,
            host_mac: "0a:00:00:00:00:01".to_owned(),
            pod_mac: "0e:00:00:00:00:01".to_owned(),
            addresses: vec!["10.244.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            pod: PodName::of_args(&[("K8S_POD_NAME".to_owned(), "web".to_owned())]),
            port_mappings: vec![PortMapping {
                host_port: 8080,
                container_port: 80,
                protocol: "tcp".to_owned(),
                host_ip: None,
            }],
        }
    }

    #[test]
    fn calls_survive_the_wire() {
        let attachment = endpoint().attachment;
        for call in [
            AgentCall::Announce { link: endpoint().link, pod: endpoint().pod },
            AgentCall::Register { endpoint: endpoint() },
            AgentCall::Check { endpoint: endpoint() },
            AgentCall::Unregister { network: "pods".to_owned(), attachment: attachment.clone() },
            AgentCall::Status { network: "pods".to_owned() },
            AgentCall::Gc { network: "pods".to_owned(), valid: vec![attachment] },
        ] {
            let line = write_call(&call);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(read_call(line.as_bytes()), Ok(call));
        }
    }

    #[test]
    fn a_released_line_is_still_read() {
        // Of version 1, and with a member of some later release.
        let line = r#"{"version":1,"call":"register","later":true,"endpoint":{"network":"pods",
            "attachment":{"container":"c1","ifname":"eth0"},"netns":"/n","link":"kn1","link_index":3,
            "host_mac":"0a:00:00:00:00:01","pod_mac":"0e:00:00:00:00:01","addresses":["10.244.0.5"]}}"#;
        let Ok(AgentCall::Register { endpoint }) = read_call(line.as_bytes()) else { panic!("unreadable") };
        assert_eq!((endpoint.pod, endpoint.port_mappings), (PodName::default(), vec![]));
    }

    #[test]
    fn refusals_keep_their_code() {
        assert_eq!(read_answer(write_answer(&Ok(())).as_bytes()), Ok(()));
        let error = CniError::new(Code::TryAgainLater, "not yet").details("waiting for a range");
        assert_eq!(read_answer(write_answer(&Err(error.clone())).as_bytes()), Err(error));
        let check = |line: &str, code: Code| {
            assert_eq!(read_call(line.as_bytes()).unwrap_err().code, code as u32, "{line}");
            assert_eq!(read_answer(line.as_bytes()).map_or_else(|e| e.code, |()| 0), code as u32, "{line}");
        };
        check("{", Code::Decode);
        check("{}", Code::IncompatibleVersion);
        check(r#"{"version":2}"#, Code::IncompatibleVersion);
        check(r#"{"version":"1"}"#, Code::IncompatibleVersion);
        assert_eq!(read_call(br#"{"version":1,"call":"x"}"#).unwrap_err().code, Code::Decode as u32);
    }
}
