//! Everything that can stop the plugin, and the one table that turns it into codes of the specification.

use std::io;
use std::path::PathBuf;

use cni_api::{Attachment, CniError, Code};
use netlink::NetlinkError;
use sys::netns::NetnsError;

use crate::agent::AgentError;
use crate::ipam::IpamError;

/// The plugin's own codes.
const KERNEL_REFUSED: u32 = 100;
const ADDRESSES_EXHAUSTED: u32 = 101;
const ALREADY_ATTACHED: u32 = 102;
const HOST_NOT_READY: u32 = 103;
const NOT_AS_WANTED: u32 = 104;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Asked(#[from] CniError),
    #[error("container {} already has an interface {}", .0.container, .0.ifname)]
    AlreadyAttached(Attachment),
    #[error("link {link} belongs to somebody else: alias {alias:?}")]
    ForeignLink { link: String, alias: String },
    #[error("the container's network namespace")]
    Namespace(#[source] NetnsError),
    #[error("CNI_NETNS {0} is the host's own network namespace")]
    HostNamespace(String),
    #[error("reserving addresses")]
    Ipam(#[from] IpamError),
    #[error("{what}")]
    Kernel { what: String, source: NetlinkError },
    #[error("writing {value} to {}", path.display())]
    Sysctl { path: PathBuf, value: &'static str, source: io::Error },
    #[error(
        "IPv6 is not forwarded on this host: set net.ipv6.conf.all.forwarding=1 (from Linux 6.17 on it is not needed)"
    )]
    NoIpv6Forwarding,
    #[error("this host has no IPv6, which the configured ranges need")]
    NoIpv6,
    #[error("container {} has no interface {} in network {network}", attachment.container, attachment.ifname)]
    Unknown { network: String, attachment: Attachment },
    #[error("not as it was made: {}", .0.join("; "))]
    NotAsWanted(Vec<String>),
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Only tests make this one.
    #[error("injected")]
    Injected,
}

impl From<Failure> for CniError {
    fn from(failure: Failure) -> CniError {
        let own = |code: u32| with_causes(code, &failure);
        let spec = |code: Code| with_causes(code as u32, &failure);
        match &failure {
            Failure::Asked(error) => error.clone(),
            Failure::AlreadyAttached(_) | Failure::Ipam(IpamError::AlreadyReserved { .. }) => {
                own(ALREADY_ATTACHED).details("the runtime must DEL it first")
            }
            Failure::ForeignLink { .. } => own(ALREADY_ATTACHED),
            // Gone, or never there: nothing for the runtime to clean up with.
            Failure::Namespace(NetnsError::Open { .. } | NetnsError::NotANamespace { .. }) => {
                spec(Code::UnknownContainer)
            }
            Failure::HostNamespace(_) => spec(Code::InvalidEnvironment),
            Failure::Ipam(IpamError::Exhausted { .. }) => own(ADDRESSES_EXHAUSTED),
            Failure::Ipam(IpamError::InUse { .. } | IpamError::NotOurs { .. }) => spec(Code::InvalidConfig),
            Failure::Ipam(IpamError::Io { .. }) | Failure::Sysctl { .. } => spec(Code::Io),
            Failure::Namespace(_) | Failure::Kernel { .. } | Failure::Injected => own(KERNEL_REFUSED),
            Failure::NoIpv6Forwarding | Failure::NoIpv6 => own(HOST_NOT_READY),
            Failure::Unknown { .. } => spec(Code::UnknownContainer),
            Failure::NotAsWanted(_) => own(NOT_AS_WANTED),
            Failure::Agent(error) => error.told(),
        }
    }
}

/// The failure's sentence, and the chain below it as details.
fn with_causes(code: u32, failure: &Failure) -> CniError {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    CniError::with_code(code, failure.to_string()).details(causes.join(": "))
}
