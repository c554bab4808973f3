//! CHECK: is everything as ADD made it?
//!
//! The reservations say what was made; `plan` against the kernel says what is missing, the agent what its
//! datapath lacks.
//!
//! Reference: CNI 1.1 section 2, "CHECK: Check container's networking is as expected".

use std::net::IpAddr;

use cni_api::agent::AgentCall;
use cni_api::{CniError, Code, Environment};

use super::{desired, endpoint, namespace};
use crate::agent::{Agent, AgentError, PATIENCE};
use crate::config::Config;
use crate::failure::Failure;
use crate::ipam::Store;
use crate::wiring::{Wires, plan};

pub fn check(config: &Config, environment: &Environment) -> Result<(), Failure> {
    let attachment = &environment.attachment;
    let unknown = || Failure::Unknown { network: config.network.clone(), attachment: attachment.clone() };
    let previous = config.prev_result.as_ref().ok_or_else(|| {
        Failure::Asked(CniError::new(Code::InvalidConfig, "prevResult is missing: CHECK needs what ADD gave"))
    })?;
    if !config.state.exists() {
        return Err(unknown());
    }
    let addresses = Store::lock(&config.state)?.owned(attachment)?;
    if addresses.is_empty() {
        return Err(unknown());
    }
    let mut wrong: Vec<String> = Vec::new();
    let told = |ip: &IpAddr| previous.ips.iter().any(|previous| previous.address.addr() == *ip);
    wrong.extend(addresses.iter().filter(|ip| !told(ip)).map(|ip| format!("prevResult lacks {ip}")));
    let desired = desired(config, attachment, addresses)?;
    let mut wires = Wires::open(Some(namespace(&environment.netns)?))?;
    let observed = wires.observe(&desired)?;
    wrong.extend(plan(&desired, &observed).iter().map(|step| format!("missing {step}")));
    if let (Some(agent), true) = (Agent::of(config, PATIENCE)?, observed.host.is_some()) {
        let endpoint = endpoint(config, environment, &desired, &mut wires)?;
        match agent.ask(&AgentCall::Check { endpoint }, PATIENCE) {
            Err(AgentError::Refused(error)) => wrong.push(error.msg),
            outcome => outcome?,
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::NotAsWanted(wrong)) }
}
