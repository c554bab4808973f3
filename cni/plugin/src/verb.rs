//! What a runtime can ask for, one file each. Every verb is told its configuration and environment and
//! gives what is to be printed.

mod add;
mod check;
mod del;
mod gc;
mod status;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use cni_api::agent::{AgentCall, Endpoint, PodName};
use cni_api::{Attachment, CniError, Code, Environment};

use crate::agent::{Agent, COURTESY};
use crate::attachment::Names;
use crate::config::Config;
use crate::failure::Failure;
use crate::wiring::{Desired, Wires};

pub use add::add;
pub use check::check;
pub use del::del;
pub use gc::gc;
pub use status::status;

fn names(config: &Config, attachment: &Attachment) -> Result<Names, Failure> {
    let mut names = Names::of(&config.network, attachment).ok_or_else(|| {
        let msg = "network name, container id and interface name together are longer than 240 bytes";
        Failure::Asked(CniError::new(Code::InvalidConfig, msg))
    })?;
    if let Some(mac) = config.mac {
        names.pod_mac = mac;
    }
    Ok(names)
}

fn desired(config: &Config, attachment: &Attachment, addresses: Vec<IpAddr>) -> Result<Desired, Failure> {
    let names = names(config, attachment)?;
    Ok(Desired { names, ifname: attachment.ifname.clone(), mtu: config.mtu, addresses })
}

/// What the agent is told about a pod that is wired.
fn endpoint(
    config: &Config,
    environment: &Environment,
    desired: &Desired,
    wires: &mut Wires,
) -> Result<Endpoint, Failure> {
    Ok(Endpoint {
        network: config.network.clone(),
        attachment: environment.attachment.clone(),
        netns: environment.netns.clone(),
        netns_cookie: wires.pod_cookie()?,
        link: desired.names.link.clone(),
        link_index: wires.index(&desired.names.link)?,
        host_mac: desired.names.host_mac.to_string(),
        pod_mac: desired.names.pod_mac.to_string(),
        addresses: desired.addresses.clone(),
        pod: PodName::of_args(&environment.args),
        port_mappings: config.port_mappings.clone(),
    })
}

/// For verbs that succeed without the agent: it is told if it is there, and looks for itself when it starts.
fn tell_agent(config: &Config, call: &AgentCall) {
    let told = Agent::of(config, COURTESY).and_then(|agent| match agent {
        Some(agent) => agent.ask(call, COURTESY),
        None => Ok(()),
    });
    if let Err(error) = told {
        // Runtimes keep what plugins say here.
        eprintln!("keelson-cni: {error}; it will look for itself when it starts");
    }
}

/// Whether the runtime insists on a namespace that is the plugin's own (libcni's CNI_NETNS_OVERRIDE).
fn is_overridden() -> bool {
    let said = std::env::var("CNI_NETNS_OVERRIDE").unwrap_or_default();
    matches!(said.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// The pod's namespace, which must be one and not the host's, unless the runtime insists.
fn namespace(path: &str) -> Result<OwnedFd, Failure> {
    let opened = sys::netns::open(Path::new(path)).map_err(Failure::Namespace)?;
    let file = std::fs::File::from(opened);
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let pod = file.metadata().map(identity).ok();
    let mine = std::fs::metadata("/proc/thread-self/ns/net").map(identity).ok();
    if pod.is_some() && pod == mine && !is_overridden() {
        return Err(Failure::HostNamespace(path.to_owned()));
    }
    Ok(file.into())
}
