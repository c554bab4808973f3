//! What policies say of one packet, from the objects alone.

use std::collections::BTreeMap;
use std::net::IpAddr;

use datapath::Direction;

use super::cluster::{Class, Cluster, Labels};
use super::rule::{Peer, Policy, Rule, Which};

/// One end of a packet.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub address: IpAddr,
    /// None: no pod, or one with the node's network.
    pub class: Option<&'a Class>,
}

/// What comes of it, and whose doing it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No policy selects the pod for this direction.
    NotIsolated,
    /// The first rule that allows it, by its place in its policy.
    Allowed(&'a Policy, usize),
    /// By all that select it.
    Denied(Vec<&'a Policy>),
}

/// `subject` is the pod that policies select; `peer` the other end.
pub fn judge<'a>(
    cluster: &'a Cluster,
    direction: Direction,
    subject: &Class,
    peer: End<'_>,
    protocol: u8,
    port: u16,
) -> Outcome<'a> {
    let selects = |policy: &&Policy| {
        policy.selects(&subject.namespace, &subject.labels) && policy.rules(direction).is_some()
    };
    let policies: Vec<&Policy> = cluster.policies.iter().filter(selects).collect();
    if policies.is_empty() {
        return Outcome::NotIsolated;
    }
    let receiver = if direction == Direction::Ingress { Some(subject) } else { peer.class };
    for policy in &policies {
        let rules = policy.rules(direction).unwrap_or_default();
        let allows = |rule: &Rule| {
            is_peer(cluster, &policy.namespace, rule, peer) && is_port(rule, receiver, protocol, port)
        };
        if let Some(place) = rules.iter().position(allows) {
            return Outcome::Allowed(policy, place);
        }
    }
    Outcome::Denied(policies)
}

fn is_peer(cluster: &Cluster, own: &str, rule: &Rule, end: End<'_>) -> bool {
    rule.peers.is_empty()
        || rule.peers.iter().any(|peer| match peer {
            Peer::Block { cidr, except } => {
                cidr.contains(&end.address) && !except.iter().any(|range| range.contains(&end.address))
            }
            Peer::Pods { .. } => {
                end.class.is_some_and(|class| is_selected(&cluster.namespaces, own, peer, class))
            }
            Peer::Nobody => false,
        })
}

/// Whether a peer's selectors select the pods of a class.
pub fn is_selected(namespaces: &BTreeMap<String, Labels>, own: &str, peer: &Peer, class: &Class) -> bool {
    let Peer::Pods { namespaces: selector, pods } = peer else { return false };
    let near = match selector {
        None => class.namespace == own,
        // One that is not known yet has no labels to say no by.
        Some(selector) => namespaces.get(&class.namespace).is_some_and(|labels| selector.matches(labels)),
    };
    near && pods.matches(&class.labels)
}

fn is_port(rule: &Rule, receiver: Option<&Class>, protocol: u8, port: u16) -> bool {
    rule.ports.is_empty()
        || rule.ports.iter().any(|allowed| {
            allowed.protocol == protocol
                && match &allowed.which {
                    Which::All => true,
                    Which::Range(first, last) => (*first..=*last).contains(&port),
                    Which::Named(name) => {
                        receiver.is_some_and(|class| class.named(name, protocol).any(|known| known == port))
                    }
                }
        })
}
