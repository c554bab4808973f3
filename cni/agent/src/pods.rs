//! The pods of this node in the datapath: entered when the plugin registers one, looked at when something changed.
//!
//! **Invariants.** Registering leaves a pod that is READY, or nothing. Programs on a link go with the link, which the
//! plugin deletes when it is refused.

use std::collections::BTreeSet;

use cni_api::agent::Endpoint;
use cni_api::{Attachment, CniError, Code};
use netlink::{Address, Link, Neighbour, Route};

use crate::carrier::Carrier;
use crate::endpoint::{self, Observed, Registry};
use crate::failure::LookError;
use crate::network::Host;

/// The kernel, the datapath and the records.
pub struct Pods {
    pub host: Host,
    pub carrier: Carrier,
    registry: Registry,
}

/// What one look at the kernel sees.
pub struct Seen {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
}

/// Called before each thing that is done; a test makes it fail.
type Before<'a> = &'a mut dyn FnMut() -> Result<(), LookError>;

impl Pods {
    pub fn new(host: Host, registry: Registry) -> Pods {
        Pods { host, carrier: Carrier::default(), registry }
    }

    pub fn see(&mut self) -> Result<Seen, LookError> {
        let socket = &mut self.host.0;
        Ok(Seen {
            links: socket.links()?,
            addresses: socket.addresses()?,
            routes: socket.routes()?,
            neighbours: socket.neighbours()?,
        })
    }

    /// Makes records and datapath what the kernel has of pods.
    pub fn look(&mut self, network: &str, seen: &Seen) -> Result<(), LookError> {
        self.registry
            .reconcile(network, &seen.links, &seen.routes, &seen.neighbours)
            .map_err(LookError::Records)?;
        let links: BTreeSet<u32> = seen.links.iter().map(|link| link.index).collect();
        for step in endpoint::plan(&self.registry.all(), &self.carrier.observe()?, &links) {
            self.carrier.execute(&step)?;
        }
        Ok(())
    }

    pub fn link_named(&mut self, name: &str) -> Result<Option<Link>, LookError> {
        Ok(self.host.0.link_named(name)?)
    }

    /// PENDING, programs, READY; or nothing of it.
    pub fn register(&mut self, endpoint: Endpoint) -> Result<(), CniError> {
        self.register_with(endpoint, &mut || Ok(()))
    }

    fn register_with(&mut self, endpoint: Endpoint, before: Before<'_>) -> Result<(), CniError> {
        let link = self.link_named(&endpoint.link)?;
        endpoint::check(&endpoint, link.as_ref())?;
        if let Some(other) = self.registry.other_owner(&endpoint).cloned() {
            let there = self.link_named(&other.link)?;
            if there.is_some_and(|link| link.index == other.link_index) {
                let owner = &other.attachment.container;
                let msg = format!("an address of {:?} is that of container {owner}", endpoint.addresses);
                return Err(CniError::new(Code::InvalidConfig, msg));
            }
            self.forget(&other)?;
        }
        if let Err(error) = self.let_through(&endpoint, before) {
            // The first failure is the one to tell; what stays is found when the agent next looks.
            let _ = self.forget(&endpoint);
            return Err(error.into());
        }
        let pod = &endpoint.pod;
        tracing::info!(pod = %pod.name, ns = %pod.namespace, uid = %pod.uid,
            container = %endpoint.attachment.container, link = %endpoint.link,
            addresses = ?endpoint.addresses, "a pod is connected");
        Ok(())
    }

    fn let_through(&mut self, endpoint: &Endpoint, before: Before<'_>) -> Result<(), LookError> {
        let observed = self.observe_of(endpoint)?;
        for step in endpoint::plan(&[endpoint], &observed, &[endpoint.link_index].into()) {
            before()?;
            self.carrier.execute(&step)?;
        }
        before()?;
        self.registry.insert(endpoint.clone()).map_err(LookError::Records)
    }

    /// Nothing there is success.
    pub fn unregister(&mut self, network: &str, attachment: &Attachment) -> Result<(), CniError> {
        let Some(endpoint) = self.registry.get(network, attachment).cloned() else { return Ok(()) };
        self.forget(&endpoint)?;
        let pod = &endpoint.pod;
        tracing::info!(pod = %pod.name, ns = %pod.namespace, uid = %pod.uid,
            container = %attachment.container, link = %endpoint.link, "a pod is disconnected");
        Ok(())
    }

    /// Whether it is as it was registered.
    pub fn check(&mut self, endpoint: &Endpoint) -> Result<(), CniError> {
        let observed = self.observe_of(endpoint)?;
        let missing = endpoint::plan(&[endpoint], &observed, &[endpoint.link_index].into());
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

    /// Forgets every pod of the network but these. One that cannot be forgotten does not keep the others.
    pub fn collect(&mut self, network: &str, valid: &[Attachment]) -> Result<(), CniError> {
        let is_stale = |known: &&Endpoint| known.network == network && !valid.contains(&known.attachment);
        let stale: Vec<Endpoint> = self.registry.all().into_iter().filter(is_stale).cloned().collect();
        let outcome = stale.iter().map(|endpoint| self.forget(endpoint)).fold(Ok(()), Result::and);
        Ok(outcome?)
    }

    fn forget(&mut self, endpoint: &Endpoint) -> Result<(), LookError> {
        let removed = self.remove_entries(endpoint);
        let recorded = self.registry.remove(&endpoint.link).map_err(LookError::Records);
        removed.and(recorded)
    }

    fn remove_entries(&mut self, endpoint: &Endpoint) -> Result<(), LookError> {
        let observed = self.observe_of(endpoint)?;
        for (ip, there) in &observed.endpoints {
            // A new pod may have the address by now.
            if there.link == endpoint.link_index {
                self.carrier.execute(&endpoint::Step::RemoveAddress(*ip))?;
            }
        }
        let cookie = endpoint.netns_cookie;
        if cookie != 0 && Some(cookie) != observed.own_namespace {
            self.carrier.execute(&endpoint::Step::RemoveNamespace(cookie))?;
        }
        Ok(())
    }

    /// Only what concerns one pod: what others lack or left is looked at elsewhere.
    fn observe_of(&self, endpoint: &Endpoint) -> Result<Observed, LookError> {
        let mut observed = self.carrier.observe()?;
        observed.endpoints.retain(|(ip, _)| endpoint.addresses.contains(ip));
        observed.namespaces.retain(|(cookie, _)| *cookie == endpoint.netns_cookie);
        observed.pinned.clear();
        Ok(observed)
    }
}

#[cfg(test)]
mod tests;
