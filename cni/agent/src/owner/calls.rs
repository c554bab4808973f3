//! What the plugin asks, and whether it may be done now.

use cni_api::agent::AgentCall;
use cni_api::{CniError, Code};

use super::Owner;

impl Owner {
    pub(super) fn answer(&mut self, call: AgentCall) -> Result<(), CniError> {
        match call {
            AgentCall::Register { endpoint } => {
                self.may_connect(&endpoint.network)?;
                self.pods.register(endpoint)
            }
            AgentCall::Unregister { network, attachment } => self.pods.unregister(&network, &attachment),
            AgentCall::Check { mut endpoint } => {
                self.may_connect(&endpoint.network)?;
                // Nothing of them is in the datapath.
                endpoint.port_mappings.clear();
                self.pods.check(&endpoint)
            }
            AgentCall::Status { network } => {
                self.is_mine(&network)?;
                if *self.ready.borrow() { Ok(()) } else { Err(self.not_ready()) }
            }
            AgentCall::Gc { network, valid } => self.pods.collect(&network, &valid),
        }
    }

    fn may_connect(&self, network: &str) -> Result<(), CniError> {
        self.is_mine(network)?;
        if self.pods.carrier.is_loaded() { Ok(()) } else { Err(self.not_ready()) }
    }

    fn is_mine(&self, network: &str) -> Result<(), CniError> {
        let own = &self.plan.names.network;
        if network == own {
            return Ok(());
        }
        let msg = format!("this node's agent serves network {own}, not {network}");
        Err(CniError::new(Code::InvalidConfig, msg))
    }

    fn not_ready(&self) -> CniError {
        CniError::new(Code::TryAgainLater, "the network agent is not ready").details(self.reason.clone())
    }
}
