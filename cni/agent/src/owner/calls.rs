//! What the plugin asks, one function per call.

use cni_api::agent::{AgentCall, Endpoint};
use cni_api::{Attachment, CniError, Code};

use super::{LookError, Owner, chain};
use crate::endpoint;

impl Owner {
    pub(super) fn answer(&mut self, call: AgentCall) -> Result<(), CniError> {
        match call {
            AgentCall::Register { endpoint } => self.register(endpoint),
            AgentCall::Unregister { network, attachment } => self.unregister(&network, &attachment),
            AgentCall::Check { endpoint } => self.check(&endpoint),
            AgentCall::Status { network } => self.status(&network),
            AgentCall::Gc { network, valid } => self.collect(&network, &valid),
        }
    }

    /// PENDING, programs, READY; or nothing of it.
    fn register(&mut self, endpoint: Endpoint) -> Result<(), CniError> {
        self.is_mine(&endpoint.network)?;
        self.is_loaded()?;
        let link = self.link_now(&endpoint.link).map_err(failed)?;
        endpoint::check(&endpoint, link.as_ref())?;
        if let Some(other) = self.registry.other_owner(&endpoint).cloned() {
            let there = self.link_now(&other.link).map_err(failed)?;
            if there.is_some_and(|link| link.index == other.link_index) {
                let msg = format!(
                    "an address of {:?} is that of container {}",
                    endpoint.addresses, other.attachment.container
                );
                return Err(CniError::new(Code::InvalidConfig, msg));
            }
            self.forget(&other)?;
        }
        let (pod, attachment) = (endpoint.pod.clone(), endpoint.attachment.clone());
        let done = self
            .let_through(&endpoint)
            .and_then(|()| self.registry.insert(endpoint.clone()).map_err(LookError::Records));
        if let Err(error) = done {
            // The first failure is the one to tell; what stays is found when the agent next looks.
            let _ = self.forget(&endpoint);
            return Err(failed(error));
        }
        tracing::info!(pod = %pod.name, ns = %pod.namespace, uid = %pod.uid, container = %attachment.container,
            link = %endpoint.link, addresses = ?endpoint.addresses, "a pod is connected");
        Ok(())
    }

    fn let_through(&mut self, endpoint: &Endpoint) -> Result<(), LookError> {
        let links = [endpoint.link_index].into();
        let mut observed = self.carrier.observe()?;
        // Only this one: what others lack or left is looked at elsewhere.
        observed.endpoints.retain(|(ip, _)| endpoint.addresses.contains(ip));
        observed.namespaces.retain(|(cookie, _)| *cookie == endpoint.netns_cookie);
        observed.pinned.clear();
        for step in endpoint::plan(&[endpoint], &observed, &links) {
            self.carrier.execute(&step)?;
        }
        Ok(())
    }

    fn unregister(&mut self, network: &str, attachment: &Attachment) -> Result<(), CniError> {
        let known = self.registry.get(network, attachment).cloned();
        known.map_or(Ok(()), |endpoint| {
            self.forget(&endpoint)?;
            tracing::info!(pod = %endpoint.pod.name, ns = %endpoint.pod.namespace, uid = %endpoint.pod.uid,
                container = %attachment.container, link = %endpoint.link, "a pod is disconnected");
            Ok(())
        })
    }

    fn forget(&mut self, endpoint: &Endpoint) -> Result<(), CniError> {
        let removed = self.remove_addresses(&endpoint.addresses, endpoint.link_index, endpoint.netns_cookie);
        let recorded = self.registry.remove(&endpoint.link).map_err(LookError::Records);
        removed.and(recorded).map_err(failed)
    }

    fn check(&mut self, endpoint: &Endpoint) -> Result<(), CniError> {
        self.is_mine(&endpoint.network)?;
        self.is_loaded()?;
        let observed = self.carrier.observe().map_err(|error| failed(error.into()))?;
        let mut known = endpoint.clone();
        // CHECK is not told everything that ADD was.
        known.port_mappings.clear();
        let mut mine = observed.clone();
        mine.endpoints.retain(|(ip, _)| known.addresses.contains(ip));
        mine.namespaces.retain(|(cookie, _)| *cookie == known.netns_cookie);
        mine.pinned.clear();
        let missing = endpoint::plan(&[&known], &mine, &[known.link_index].into());
        let registered = self.registry.get(&endpoint.network, &endpoint.attachment).is_some();
        if missing.is_empty() && registered {
            return Ok(());
        }
        let msg = if registered {
            format!("the datapath lacks {missing:?}")
        } else {
            "the network agent does not know the pod".to_owned()
        };
        Err(CniError::new(Code::LimitedConnectivity, msg))
    }

    fn status(&mut self, network: &str) -> Result<(), CniError> {
        self.is_mine(network)?;
        if *self.ready.borrow() { Ok(()) } else { Err(self.not_ready()) }
    }

    /// Forgets every pod of the network but these. One that cannot be forgotten does not keep the others.
    fn collect(&mut self, network: &str, valid: &[Attachment]) -> Result<(), CniError> {
        let stale: Vec<Endpoint> = self
            .registry
            .all()
            .into_iter()
            .filter(|known| known.network == network && !valid.contains(&known.attachment))
            .cloned()
            .collect();
        stale.iter().map(|endpoint| self.forget(endpoint)).fold(Ok(()), Result::and)
    }

    fn is_mine(&self, network: &str) -> Result<(), CniError> {
        let own = &self.plan.names.network;
        if network == own {
            return Ok(());
        }
        let msg = format!("this node's agent serves network {own}, not {network}");
        Err(CniError::new(Code::InvalidConfig, msg))
    }

    fn is_loaded(&self) -> Result<(), CniError> {
        if self.carrier.is_loaded() { Ok(()) } else { Err(self.not_ready()) }
    }

    fn not_ready(&self) -> CniError {
        CniError::new(Code::TryAgainLater, "the network agent is not ready").details(self.reason.clone())
    }
}

fn failed(error: LookError) -> CniError {
    CniError::new(Code::Io, "the network agent could not do it").details(chain(&error))
}
