//! DEL: tell the agent, remove the link, then give the addresses back. Nothing there is success, also without the pod's
//! namespace, without the agent, after a reboot, or after an ADD that was killed.
//!
//! Reference: CNI 1.1 section 2, "DEL: Remove container from network, or un-apply modifications".

use cni_api::Environment;
use cni_api::agent::AgentCall;

use super::{names, tell_agent};
use crate::config::Config;
use crate::failure::Failure;
use crate::ipam::Store;
use crate::wiring::Wires;

pub fn del(config: &Config, environment: &Environment) -> Result<(), Failure> {
    let names = names(config, &environment.attachment)?;
    // First: nobody may get these addresses while the datapath still knows them.
    let (network, attachment) = (config.network.clone(), environment.attachment.clone());
    tell_agent(config, &AgentCall::Unregister { network, attachment });
    // If the link stays, its addresses stay taken: the runtime comes again.
    Wires::open(None)?.delete_and_leave(&names.link, &names.alias)?;
    if config.state.exists() {
        Store::lock(&config.state)?.release(&environment.attachment)?;
    }
    Ok(())
}
