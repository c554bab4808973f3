//! Whose each address is, and which prefixes of policies hold it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::cluster::{Class, Pod};

/// Addresses that somebody claims.
#[derive(Debug, Default)]
pub struct Addresses {
    all: BTreeMap<IpAddr, Claims>,
}

/// Who claims an address.
#[derive(Debug, Default)]
pub struct Claims {
    /// Pods of this node by their links, with the addresses that the plugin gave them.
    pub own: BTreeMap<String, Arc<Class>>,
    /// As the API has them.
    pub pods: Vec<Arc<Pod>>,
    /// The identity of whoever has it; None until that is settled.
    pub number: Option<u32>,
}

/// Every prefix that a policy names, with how often.
#[derive(Debug, Default)]
pub struct Prefixes {
    counts: BTreeMap<IpNet, usize>,
    /// Lengths that there are, the longest first.
    v4: Vec<u8>,
    v6: Vec<u8>,
}

// === impl Addresses ===

impl Addresses {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, address: IpAddr) -> Option<&Claims> {
        self.all.get(&address)
    }

    pub fn within(&self, prefix: &IpNet) -> Vec<IpAddr> {
        self.all.range(prefix.network()..=prefix.broadcast()).map(|(address, _)| *address).collect()
    }

    pub fn claims(&mut self, address: IpAddr) -> &mut Claims {
        self.all.entry(address).or_default()
    }

    /// An address under another number; the one it had. One that nobody claims is forgotten.
    pub fn settle(&mut self, address: IpAddr, number: Option<u32>) -> Option<u32> {
        let claims = self.all.get_mut(&address)?;
        let before = std::mem::replace(&mut claims.number, number);
        if claims.own.is_empty() && claims.pods.is_empty() {
            self.all.remove(&address);
        }
        before
    }

    pub fn numbers(&mut self) -> impl Iterator<Item = (IpAddr, &mut u32)> {
        self.all.iter_mut().filter_map(|(address, claims)| Some((*address, claims.number.as_mut()?)))
    }
}

// === impl Claims ===

impl Claims {
    /// A pod of this node before all others.
    pub fn class(&self) -> Option<&Arc<Class>> {
        let own = self.own.values().next_back();
        own.or_else(|| self.youngest().map(|pod| &pod.class))
    }

    /// Of two pods of the API the younger has it.
    pub fn youngest(&self) -> Option<&Arc<Pod>> {
        fn age(pod: &Pod) -> (&str, u64, &str, &str) {
            (&pod.created, pod.version, &pod.class.namespace, &pod.name)
        }
        self.pods.iter().max_by(|one, other| age(one).cmp(&age(other)))
    }
}

// === impl Prefixes ===

impl Prefixes {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether it is new.
    pub fn add(&mut self, prefix: IpNet) -> bool {
        let count = self.counts.entry(prefix).or_insert(0);
        *count += 1;
        let is_new = *count == 1;
        if is_new {
            self.measure();
        }
        is_new
    }

    /// Whether it is gone by that.
    pub fn remove(&mut self, prefix: &IpNet) -> bool {
        let Some(count) = self.counts.get_mut(prefix) else { return false };
        *count -= 1;
        let is_gone = *count == 0;
        if is_gone {
            self.counts.remove(prefix);
            self.measure();
        }
        is_gone
    }

    /// The longest one that holds an address.
    pub fn longest(&self, address: IpAddr) -> Option<IpNet> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().find_map(|bits| {
            let prefix = IpNet::new(address, *bits).ok()?.trunc();
            self.counts.contains_key(&prefix).then_some(prefix)
        })
    }

    fn measure(&mut self) {
        let of = |ipv4: bool| {
            let family = self.counts.keys().filter(|prefix| prefix.addr().is_ipv4() == ipv4);
            let mut lengths: Vec<u8> = family.map(IpNet::prefix_len).collect();
            lengths.sort_unstable_by(|one, other| other.cmp(one));
            lengths.dedup();
            lengths
        };
        (self.v4, self.v6) = (of(true), of(false));
    }
}
