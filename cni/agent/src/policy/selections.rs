//! Whom the rules of all policies mean. What many rules say in the same words is asked once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Key;
use datapath::ANYBODY;

use super::cluster::Labels;
use super::evaluate::is_selected;
use super::identities::Identity;
use super::rule::Peer;

/// A peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whom {
    /// Of a rule without peers.
    Anybody,
    /// The same where the port's name is the receiver's: every pod, for the ports of that name that it has.
    Named,
    /// The policy's namespace where pods of no other are meant, else empty.
    Peer(String, Peer),
}

/// Whom one peer means, and whose peer it is.
#[derive(Debug, Default)]
pub struct Selection {
    /// Numbers of identities.
    pub means: BTreeSet<u32>,
    /// Policies, each with the place of its rule.
    pub rules: BTreeSet<(Key, usize)>,
}

type Room = HashMap<Arc<Whom>, Selection>;

/// Every peer of any rule.
#[derive(Debug, Default)]
pub struct Selections {
    /// By the namespace that they are confined to.
    near: HashMap<String, Room>,
    wide: Room,
}

// === impl Whom ===

impl Whom {
    /// A peer as it is written in a policy of a namespace.
    pub fn of(peer: &Peer, own: &str) -> Whom {
        let near = matches!(peer, Peer::Pods { namespaces: None, .. });
        Whom::Peer(if near { own.to_owned() } else { String::new() }, peer.clone())
    }

    /// The namespace that it is confined to, or empty.
    pub fn namespace(&self) -> &str {
        if let Whom::Peer(namespace, _) = self { namespace } else { "" }
    }

    pub fn means(&self, identity: &Identity, namespaces: &BTreeMap<String, Labels>) -> bool {
        match self {
            // Its entries have a number of their own.
            Whom::Anybody => false,
            Whom::Named => identity.class.is_some(),
            // The prefix is the longest one there is, so it lies within a block as a whole or not at all.
            Whom::Peer(_, Peer::Block { cidr, except }) => identity.prefix.is_some_and(|prefix| {
                cidr.contains(&prefix) && !except.iter().any(|range| range.contains(&prefix))
            }),
            Whom::Peer(own, peer) => {
                identity.class.as_ref().is_some_and(|class| is_selected(namespaces, own, peer, class))
            }
        }
    }
}

// === impl Selections ===

impl Selections {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.wide.is_empty()
    }

    pub fn get(&self, whom: &Arc<Whom>) -> Option<&Selection> {
        match whom.namespace() {
            "" => self.wide.get(whom),
            namespace => self.near.get(namespace)?.get(whom),
        }
    }

    /// Every peer that may mean an identity.
    pub fn of(&mut self, identity: &Identity) -> impl Iterator<Item = (&Arc<Whom>, &mut Selection)> {
        let class = identity.class.as_ref();
        let near = class.and_then(|class| self.near.get_mut(&class.namespace));
        near.into_iter().flatten().chain(&mut self.wide)
    }

    /// A rule has this peer. Of one that is new `find` says whom it means.
    pub fn add(&mut self, whom: &Arc<Whom>, rule: (Key, usize), find: impl FnOnce() -> BTreeSet<u32>) {
        let selection = self.room(whom).entry(whom.clone()).or_insert_with(|| {
            let means = if **whom == Whom::Anybody { [ANYBODY].into() } else { find() };
            Selection { means, rules: BTreeSet::new() }
        });
        selection.rules.insert(rule);
    }

    /// The rule is gone. Its peer stays until [`Selections::forget`].
    pub fn remove(&mut self, whom: &Arc<Whom>, rule: &(Key, usize)) {
        if let Some(selection) = self.room(whom).get_mut(whom) {
            selection.rules.remove(rule);
        }
    }

    /// Forgets a peer that no rule has.
    pub fn forget(&mut self, whom: &Arc<Whom>) {
        let room = self.room(whom);
        if room.get(whom).is_some_and(|selection| selection.rules.is_empty()) {
            room.remove(whom);
        }
        if room.is_empty() {
            self.near.remove(whom.namespace());
        }
    }

    fn room(&mut self, whom: &Whom) -> &mut Room {
        match whom.namespace() {
            "" => &mut self.wide,
            namespace => self.near.entry(namespace.to_owned()).or_default(),
        }
    }
}
