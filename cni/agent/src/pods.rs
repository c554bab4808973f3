//! The pods of this node in the datapath: entered when the plugin registers one, looked at when something changed.
//!
//! A pod is PENDING from [`Pods::connect`] on until [`Pods::permit`] has heard what policies say of it.
//!
//! **Invariants.** A pod that cannot be connected leaves nothing. Programs on a link go with the link, which the
//! plugin deletes when it is refused.

use std::collections::{BTreeMap, BTreeSet};

use cni_api::agent::Endpoint;
use cni_api::{Attachment, CniError, Code};
use netlink::{Address, Link, Neighbour, Route};

use crate::carrier::Carrier;
use crate::endpoint::{self, Permit, Registry};
use crate::failure::LookError;
use crate::network::Host;

/// The kernel, the datapath and the records.
pub struct Pods {
    pub host: Host,
    pub carrier: Carrier,
    registry: Registry,
    /// What policies say, by link; of a pod that is not here nobody knows.
    permits: BTreeMap<String, Permit>,
    /// The datapath may not say all of it.
    unsettled: bool,
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
        Pods { host, carrier: Carrier::default(), registry, permits: BTreeMap::new(), unsettled: true }
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
        let known = self.registry.all();
        self.permits.retain(|link, _| known.iter().any(|endpoint| endpoint.link == *link));
        let links: BTreeSet<u32> = seen.links.iter().map(|link| link.index).collect();
        let permit = |endpoint: &Endpoint| self.permits.get(&endpoint.link).copied();
        for step in endpoint::plan(&self.registry.all(), &self.carrier.observe()?, &links, &permit) {
            self.carrier.execute(&step)?;
        }
        Ok(())
    }

    pub fn link_named(&mut self, name: &str) -> Result<Option<Link>, LookError> {
        Ok(self.host.0.link_named(name)?)
    }

    /// Every pod there is.
    pub fn all(&self) -> Vec<&Endpoint> {
        self.registry.all()
    }

    /// Whether others than its node may talk to it.
    pub fn is_ready(&self, endpoint: &Endpoint) -> Result<bool, LookError> {
        let observed = self.carrier.observe_of(&[endpoint])?;
        let ready = |ip: &std::net::IpAddr| {
            observed.endpoints.iter().any(|(known, there)| {
                known == ip
                    && there.link == endpoint.link_index
                    && there.state == datapath::EndpointState::Ready
            })
        };
        Ok(endpoint.addresses.iter().all(ready))
    }

    /// Tells pods what policies say of them now: new ones become READY by it. Whether one of them is isolated anew.
    ///
    /// What knocked at a pod while it was PENDING has flows that nobody's policies have judged. So the pod's isolation comes
    /// first, then the epoch that has flows judged again, and then the pod is READY.
    pub fn permit(&mut self, permits: BTreeMap<String, Permit>) -> Result<bool, LookError> {
        let is_news = |endpoint: &&Endpoint| {
            let said = permits.get(&endpoint.link);
            self.unsettled || said.is_some() && said != self.permits.get(&endpoint.link)
        };
        let concerned: Vec<&Endpoint> = self.registry.all().into_iter().filter(is_news).collect();
        self.permits.extend(permits);
        // What an earlier try has told before it failed is no news any more.
        let mut isolated = self.unsettled;
        self.unsettled = true;
        let observed = self.carrier.observe_of(&concerned)?;
        let permit = |endpoint: &Endpoint| self.permits.get(&endpoint.link).copied();
        // What is stale is looked at where links are.
        let steps = endpoint::plan(&concerned, &observed, &BTreeSet::new(), &permit);
        let puts = steps.into_iter().filter_map(|step| match step {
            endpoint::Step::Put(ip, to) => Some((ip, to)),
            _ => None,
        });
        let (pending, ready): (Vec<_>, Vec<_>) =
            puts.partition(|(_, to)| to.state == datapath::EndpointState::Pending);
        let mut put = |(ip, to): (std::net::IpAddr, datapath::Endpoint)| {
            let before = observed.endpoints.iter().find(|(known, _)| *known == ip).map(|(_, there)| there);
            isolated |=
                before.is_some_and(|there| (there.isolation, there.identity) != (to.isolation, to.identity));
            self.carrier.execute(&endpoint::Step::Put(ip, to))
        };
        let guarded = pending.iter().any(|(_, to)| to.isolation != datapath::Isolation::default());
        pending.into_iter().try_for_each(&mut put)?;
        if guarded && let Some(tables) = self.carrier.tables() {
            tables.judge_flows_again()?;
        }
        ready.into_iter().try_for_each(&mut put)?;
        self.unsettled = false;
        Ok(isolated)
    }

    /// PENDING and programs, and READY where it is known what policies say; or nothing of it.
    pub fn connect(&mut self, endpoint: Endpoint) -> Result<(), CniError> {
        self.connect_with(endpoint, &mut || Ok(()))
    }

    fn connect_with(&mut self, endpoint: Endpoint, before: Before<'_>) -> Result<(), CniError> {
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
        Ok(())
    }

    fn let_through(&mut self, endpoint: &Endpoint, before: Before<'_>) -> Result<(), LookError> {
        let observed = self.carrier.observe_of(&[endpoint])?;
        let permit = |endpoint: &Endpoint| self.permits.get(&endpoint.link).copied();
        for step in endpoint::plan(&[endpoint], &observed, &[endpoint.link_index].into(), &permit) {
            before()?;
            self.carrier.execute(&step)?;
        }
        before()?;
        self.registry.insert(endpoint.clone()).map_err(LookError::Records)
    }

    /// A pod whose link this is needs no permission: no policy knows it.
    #[cfg(test)]
    fn register_with(&mut self, endpoint: Endpoint, before: Before<'_>) -> Result<(), CniError> {
        self.permits.insert(endpoint.link.clone(), Permit::default());
        self.connect_with(endpoint, before)
    }

    #[cfg(test)]
    fn register(&mut self, endpoint: Endpoint) -> Result<(), CniError> {
        self.register_with(endpoint, &mut || Ok(()))
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
        let observed = self.carrier.observe_of(&[endpoint]).map_err(LookError::from)?;
        let permit = |endpoint: &Endpoint| self.permits.get(&endpoint.link).copied();
        let missing = endpoint::plan(&[endpoint], &observed, &[endpoint.link_index].into(), &permit);
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

    /// Takes a pod out of the datapath and the records.
    pub fn forget(&mut self, endpoint: &Endpoint) -> Result<(), LookError> {
        self.permits.remove(&endpoint.link);
        let removed = self.remove_entries(endpoint);
        let recorded = self.registry.remove(&endpoint.link).map_err(LookError::Records);
        removed.and(recorded)
    }

    fn remove_entries(&mut self, endpoint: &Endpoint) -> Result<(), LookError> {
        let observed = self.carrier.observe_of(&[endpoint])?;
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
}

#[cfg(test)]
mod tests;
