//! Who there is, each under a number.
//!
//! **Invariants.** A number is a hash. Of two identities with one hash the one that sorts later gets the next free number:
//! the same identities have the same numbers, in whatever order they came, and two never share one.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ipnet::IpNet;

use super::cluster::Class;

/// Numbers below are reserved.
const FIRST: u32 = 256;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// None: no pod that is known.
    pub class: Option<Arc<Class>>,
    /// The longest prefix of any policy that holds the address.
    pub prefix: Option<IpNet>,
}

/// Numbers that others had and have now.
pub type Moved = Vec<(u32, u32)>;

#[derive(Debug)]
pub struct Identities {
    held: BTreeMap<Identity, Held>,
    by_number: HashMap<u32, Identity>,
    hash: fn(&Identity) -> u32,
}

#[derive(Debug)]
struct Held {
    number: u32,
    /// By how many.
    count: usize,
}

// === impl Identities ===

impl Default for Identities {
    fn default() -> Identities {
        Identities { held: BTreeMap::new(), by_number: HashMap::new(), hash: number_of }
    }
}

impl Identities {
    #[cfg(test)]
    pub fn narrow() -> Identities {
        Identities { hash: tests::narrow, ..Identities::default() }
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn number(&self, identity: &Identity) -> Option<u32> {
        self.held.get(identity).map(|held| held.number)
    }

    pub fn get(&self, number: u32) -> Option<&Identity> {
        self.by_number.get(&number)
    }

    pub fn all(&self) -> impl Iterator<Item = (&Identity, u32)> {
        self.held.iter().map(|(identity, held)| (identity, held.number))
    }

    /// Those of the pods of a namespace.
    pub fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Identity, u32)> {
        let first = Class { namespace: namespace.to_owned(), ..Class::default() };
        let first = Identity { class: Some(Arc::new(first)), prefix: None };
        let is_of = move |(identity, _): &(&Identity, &Held)| {
            identity.class.as_ref().is_some_and(|class| class.namespace == namespace)
        };
        self.held.range(first..).take_while(is_of).map(|(identity, held)| (identity, held.number))
    }

    /// Held once more. Of one that is new also who made room for it.
    pub fn hold(&mut self, identity: &Identity) -> (u32, Option<Moved>) {
        if let Some(held) = self.held.get_mut(identity) {
            held.count += 1;
            return (held.number, None);
        }
        let mut all = self.lift((self.hash)(identity));
        all.push((identity.clone(), None));
        self.held.insert(identity.clone(), Held { number: 0, count: 1 });
        let moved = self.place(all);
        (self.number(identity).unwrap_or(0), Some(moved))
    }

    /// Held once less. Of one that is gone by that also who took its place.
    pub fn release(&mut self, number: u32) -> Option<(Identity, Moved)> {
        let identity = self.by_number.get(&number)?.clone();
        let held = self.held.get_mut(&identity)?;
        held.count -= 1;
        if held.count > 0 {
            return None;
        }
        self.held.remove(&identity);
        let mut rest = self.lift(number);
        rest.retain(|(known, _)| *known != identity);
        Some((identity, self.place(rest)))
    }

    /// Takes up who has the numbers around one that are taken without a gap: only there it matters who comes or goes.
    fn lift(&mut self, around: u32) -> Vec<(Identity, Option<u32>)> {
        let is_taken = |number: &u32| self.by_number.contains_key(number);
        if !is_taken(&around) {
            return Vec::new();
        }
        let taken = |step: fn(u32) -> u32| {
            std::iter::successors(Some(step(around)), move |at| Some(step(*at))).take_while(is_taken)
        };
        let run: Vec<u32> = taken(before).chain([around]).chain(taken(after)).collect();
        run.into_iter().filter_map(|number| Some((self.by_number.remove(&number)?, Some(number)))).collect()
    }

    /// Gives each its number; those that had another one.
    fn place(&mut self, mut all: Vec<(Identity, Option<u32>)>) -> Moved {
        all.sort();
        let mut moved = Vec::new();
        for (identity, before) in all {
            let mut number = (self.hash)(&identity);
            while self.by_number.contains_key(&number) {
                number = after(number);
            }
            if let Some(held) = self.held.get_mut(&identity) {
                held.number = number;
            }
            self.by_number.insert(number, identity);
            moved.extend(before.filter(|before| *before != number).map(|before| (before, number)));
        }
        moved
    }
}

fn after(number: u32) -> u32 {
    if number == u32::MAX { FIRST } else { number + 1 }
}

fn before(number: u32) -> u32 {
    if number == FIRST { u32::MAX } else { number - 1 }
}

fn number_of(identity: &Identity) -> u32 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    identity.hash(&mut hasher);
    let folded = hasher.finish() ^ (hasher.finish() >> 32);
    let span = u64::from(u32::MAX - FIRST) + 1;
    FIRST + u32::try_from(folded % span).unwrap_or(0)
}

/// The same in every build, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(number: u8) -> Identity {
        let class = Class { namespace: number.to_string(), ..Class::default() };
        Identity { class: Some(Arc::new(class)), prefix: None }
    }

    /// So that hashes meet, also where numbers end.
    pub fn narrow(identity: &Identity) -> u32 {
        let number = number_of(identity) % 6;
        if number < 3 { u32::MAX - number } else { FIRST + number }
    }

    proptest! {
        #[test]
        fn numbers_do_not_tell_in_which_order_who_came(changes in proptest::collection::vec((0_u8..12, any::<bool>()), 0..60)) {
            let mut identities = Identities::narrow();
            let mut known = BTreeMap::new();
            for (number, comes) in changes {
                let identity = identity(number);
                let moved = if comes {
                    let (number, moved) = identities.hold(&identity);
                    if moved.is_none() {
                        prop_assert_eq!(known.get(&identity), Some(&number));
                    }
                    moved.map(|moved| (moved, Some(number)))
                } else {
                    known.get(&identity).and_then(|number| identities.release(*number)).map(|(_, moved)| (moved, None))
                };
                let Some((moved, new)) = moved else { continue };
                // Who is told what moved knows all numbers.
                if new.is_none() {
                    known.remove(&identity);
                }
                for number in known.values_mut() {
                    *number = moved.iter().find(|(before, _)| before == number).map_or(*number, |(_, after)| *after);
                }
                known.extend(new.map(|number| (identity, number)));
                let mut anew = Identities::narrow();
                for identity in known.keys() {
                    anew.hold(identity);
                }
                let listed = |of: &Identities| of.all().map(|(identity, number)| (identity.clone(), number)).collect::<BTreeMap<_, _>>();
                prop_assert_eq!(&listed(&anew), &known);
                prop_assert_eq!(&listed(&identities), &known);
                prop_assert!(known.iter().all(|(identity, number)| identities.get(*number) == Some(identity)));
            }
        }
    }
}
