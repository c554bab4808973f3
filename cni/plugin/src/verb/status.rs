//! STATUS: could ADD work now? Nothing is changed, but the folder for reservations is made.
//!
//! Reference: CNI 1.1 section 2, "STATUS: Check plugin status".

use cni_api::agent::AgentCall;
use cni_api::{CniError, Code};

use crate::agent::{Agent, COURTESY};
use crate::config::Config;
use crate::failure::Failure;
use crate::ipam::Store;
use crate::wiring::{Ipv6, Wires};

pub fn status(config: &Config) -> Result<(), Failure> {
    let ready = || {
        if let Some(agent) = Agent::of(config, COURTESY)? {
            agent.ask(&AgentCall::Status { network: config.network.clone() }, COURTESY)?;
        }
        if config.has_ipv6() {
            Ipv6::of_this_host().can_forward()?;
        }
        Wires::open(None)?;
        Store::lock(&config.state)?.has_room(&config.sets)?;
        Ok::<(), Failure>(())
    };
    ready().map_err(|failure| {
        let reason = CniError::from(failure);
        let details = if reason.details.is_empty() {
            reason.msg
        } else {
            format!("{}: {}", reason.msg, reason.details)
        };
        Failure::Asked(CniError::new(Code::NotAvailable, "pods cannot be connected now").details(details))
    })
}
