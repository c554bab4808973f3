//! What the plugin asks, and whether it may be done now.

use cni_api::agent::{AgentCall, Endpoint};
use cni_api::{CniError, Code};
use tokio::sync::oneshot;

use super::Owner;

impl Owner {
    /// Answers, or lets a new pod wait for its policies.
    pub(super) fn take(&mut self, call: AgentCall, answer: oneshot::Sender<Result<(), CniError>>) {
        let outcome = match call {
            AgentCall::Announce { link, pod } => return self.policies.expect(link, pod),
            AgentCall::Register { endpoint } => return self.register(endpoint, answer),
            AgentCall::Unregister { network, attachment } => {
                let outcome = self.pods.unregister(&network, &attachment);
                self.policies.look_now();
                outcome
            }
            AgentCall::Check { endpoint } => {
                self.may_connect(&endpoint.network).and_then(|()| self.pods.check(&endpoint))
            }
            AgentCall::Status { network } => self.status(&network),
            AgentCall::Gc { network, valid } => {
                let outcome = self.pods.collect(&network, &valid);
                self.policies.look_now();
                outcome
            }
        };
        // Who has hung up does not want to know.
        let _ = answer.send(outcome);
    }

    /// PENDING: only its own node may talk to it. The API is asked while the pod is connected.
    fn register(&mut self, endpoint: Endpoint, answer: oneshot::Sender<Result<(), CniError>>) {
        self.promoter.put_off();
        let connected = self.may_connect(&endpoint.network).and_then(|()| {
            self.policies.ask(&endpoint);
            self.pods.connect(endpoint.clone())
        });
        match connected {
            Ok(()) => self.policies.wait(endpoint, Some(answer)),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn status(&self, network: &str) -> Result<(), CniError> {
        self.is_mine(network)?;
        if *self.ready.borrow() { Ok(()) } else { Err(self.not_ready()) }
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
