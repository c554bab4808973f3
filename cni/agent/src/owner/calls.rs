//! What the plugin asks, and whether it may be done now.

use cni_api::agent::{AgentCall, Endpoint};
use cni_api::{CniError, Code};
use tokio::sync::oneshot;

use super::Owner;

impl Owner {
    pub(super) fn answer(&mut self, call: AgentCall) -> Result<(), CniError> {
        match call {
            AgentCall::Register { endpoint } => self.begin(endpoint),
            AgentCall::Unregister { network, attachment } => {
                let outcome = self.pods.unregister(&network, &attachment);
                self.policies.look_now();
                outcome
            }
            AgentCall::Check { endpoint } => {
                self.may_connect(&endpoint.network)?;
                self.pods.check(&endpoint)
            }
            AgentCall::Status { network } => {
                self.is_mine(&network)?;
                if *self.ready.borrow() { Ok(()) } else { Err(self.not_ready()) }
            }
            AgentCall::Gc { network, valid } => {
                let outcome = self.pods.collect(&network, &valid);
                self.policies.look_now();
                outcome
            }
        }
    }

    /// Answers, or lets a new pod wait for its policies.
    pub(super) fn take(&mut self, call: AgentCall, answer: oneshot::Sender<Result<(), CniError>>) {
        let AgentCall::Register { endpoint } = call else {
            // Who has hung up does not want to know.
            return drop(answer.send(self.answer(call)));
        };
        // The API is asked meanwhile.
        let link = endpoint.link.clone();
        if let Err(error) = self.may_connect(&endpoint.network) {
            return drop(answer.send(Err(error)));
        }
        self.policies.wait(endpoint.clone(), Some(answer));
        if let Err(error) = self.begin(endpoint) {
            self.policies.refuse(&link, error);
        }
    }

    /// PENDING: only its own node may talk to it.
    fn begin(&mut self, endpoint: Endpoint) -> Result<(), CniError> {
        self.may_connect(&endpoint.network)?;
        self.pods.connect(endpoint)
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
