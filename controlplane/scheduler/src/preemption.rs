//! Which pods of lower priority have to go, and from which node, so that a pod gets its place.
//!
//! ```text
//! nodes that fewer pods would help --victims of each--> candidates --the cheapest--> node, victims
//! ```
//!
//! On a node all pods of lower priority go in thought; then each stays that can, those first that a budget protects, and
//! of these the most important. Pods that the preemptor wants near are not spared.
//!
//! Pure. Not who evicts (`evict`), and not the promise of the node (`nominations`).
//!
//! Reference: upstream's DefaultPreemption and its `preemption.Evaluator`.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::budgets;
use crate::filter;
use crate::neighbours::Neighbours;
use crate::node::{Node, NodeName};
use crate::pod::Pod;
use crate::snapshot::{Room, Snapshot};

/// How many candidates are enough: so many, or that part of the nodes if it is more.
const ENOUGH: usize = 100;
const ENOUGH_PERCENT: usize = 10;
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// What preemption has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Preemption {
    /// Others make room.
    Found(Candidate),
    /// The pod may not take anybody's place now.
    Ineligible(&'static str),
    /// There is nobody to make room: why not, for the nodes that fewer pods would help. All others are beyond help.
    Useless(Vec<Vec<String>>),
}

/// A node and who has to leave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub node: NodeName,
    /// The most important first.
    pub victims: Vec<Arc<Pod>>,
    /// Victims that a budget protects.
    violations: usize,
}

/// A node that fewer pods would help.
pub type Potential<'a> = (&'a Node, &'a Room);

/// Whether others can make room for a pod on one of the `potential` nodes.
pub fn preempt(
    pod: &Pod,
    snapshot: &Snapshot,
    potential: &[Potential<'_>],
    neighbours: &mut Neighbours<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Preemption {
    let helpless = |name: &NodeName| !potential.iter().any(|(node, _)| node.name == *name);
    match ineligible(pod, snapshot, helpless) {
        Some(why) => Preemption::Ineligible(why),
        None => find(pod, snapshot, potential, neighbours, random)
            .map_or_else(Preemption::Useless, Preemption::Found),
    }
}

/// Where no node can be helped.
pub fn on_no_node(pod: &Pod, snapshot: &Snapshot) -> Preemption {
    ineligible(pod, snapshot, |_| true).map_or(Preemption::Useless(Vec::new()), Preemption::Ineligible)
}

/// Why the pod may not take anybody's place now. `helpless`: its nominated node is one that fewer pods would not help.
fn ineligible(pod: &Pod, snapshot: &Snapshot, helpless: impl Fn(&NodeName) -> bool) -> Option<&'static str> {
    if !pod.wish.preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = snapshot.nominations().of(&pod.uid).filter(|node| !helpless(node))?;
    let (_, room) = snapshot.at(nominated)?;
    room.pods()
        .any(|other| other.preempted && other.wish.priority < pod.wish.priority)
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The best candidate; where there is none, why not, for each node.
fn find(
    pod: &Pod,
    snapshot: &Snapshot,
    potential: &[Potential<'_>],
    neighbours: &mut Neighbours<'_>,
    random: &mut dyn FnMut(u64) -> u64,
) -> Result<Candidate, Vec<Vec<String>>> {
    if potential.is_empty() {
        return Err(Vec::new());
    }
    let nodes = potential.len();
    // Where nobody is less important anywhere, no node is looked at.
    if snapshot.lowest_priority().is_none_or(|lowest| lowest >= pod.wish.priority) {
        return Err(vec![vec![NO_VICTIMS.to_owned()]; nodes]);
    }
    let enough = (nodes * ENOUGH_PERCENT / 100).max(ENOUGH);
    // Not always the same nodes, where there are many.
    let first = usize::try_from(random(nodes as u64)).unwrap_or_default() % nodes;
    let (mut clean, mut violating, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..nodes {
        let (node, room) = potential[(first + at) % nodes];
        match on_node(pod, snapshot, node, room, neighbours) {
            Ok(candidate) if candidate.violations == 0 => clean.push(candidate),
            Ok(candidate) => violating.push(candidate),
            Err(why) => reasons.push(why),
        }
        if !clean.is_empty() && clean.len() + violating.len() >= enough {
            break;
        }
    }
    clean.extend(violating);
    clean.into_iter().min_by_key(cost).ok_or(reasons)
}

/// What is compared first comes first; of equals the first is taken.
fn cost(candidate: &Candidate) -> (usize, i64, i64, usize, Reverse<(bool, String)>) {
    let priorities = || candidate.victims.iter().map(|victim| victim.wish.priority);
    let highest = priorities().max().unwrap_or_default();
    // All are made positive, so that fewer of the same are less.
    let sum = priorities().map(|priority| priority + (1 << 31)).sum();
    let most_important = candidate.victims.iter().filter(|victim| victim.wish.priority == highest);
    let earliest = most_important.map(|victim| started(victim)).min().unwrap_or_default();
    let earliest = (earliest.0, earliest.1.to_owned());
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}

/// Sorts by time; what has not started is the latest.
fn started(pod: &Pod) -> (bool, &str) {
    (pod.started.is_none(), pod.started.as_deref().unwrap_or_default())
}

/// Sorts the most important first.
fn importance(pod: &Pod) -> (Reverse<i64>, (bool, &str)) {
    (Reverse(pod.wish.priority), started(pod))
}

fn on_node(
    pod: &Pod,
    snapshot: &Snapshot,
    node: &Node,
    room: &Room,
    neighbours: &mut Neighbours<'_>,
) -> Result<Candidate, Vec<String>> {
    let lower = room.pods().filter(|other| other.wish.priority < pod.wish.priority);
    let mut lower: Vec<Arc<Pod>> = lower.cloned().collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    lower.sort_by(|one, other| importance(one).cmp(&importance(other)));
    let mut trial = Trial { pod, snapshot, node, room: room.clone(), neighbours };
    for victim in &lower {
        trial.remove(victim);
    }
    let (victims, violations) = match trial.fits() {
        Ok(()) => trial.spare(&lower),
        Err(rejection) => {
            lower.iter().for_each(|victim| trial.neighbours.add(victim, node));
            return Err(rejection.reasons);
        }
    };
    victims.iter().for_each(|victim| trial.neighbours.add(victim, node));
    match victims.is_empty() {
        true => Err(vec![format!("expected at least one victim pod on node {:?}", node.name.as_str())]),
        false => Ok(Candidate { node: node.name.clone(), victims, violations }),
    }
}

/// One node while pods are taken from it and given back in thought. The neighbours are everybody's: whoever makes a trial
/// gives back what is left.
struct Trial<'t, 'n> {
    pod: &'t Pod,
    snapshot: &'t Snapshot,
    node: &'t Node,
    room: Room,
    neighbours: &'t mut Neighbours<'n>,
}

impl Trial<'_, '_> {
    fn remove(&mut self, victim: &Pod) {
        self.room.remove(&victim.uid);
        self.neighbours.remove(victim, self.node);
    }

    fn add(&mut self, victim: &Arc<Pod>) {
        self.room.add(victim.clone());
        self.neighbours.add(victim, self.node);
    }

    fn fits(&mut self) -> Result<(), filter::Rejection> {
        filter::check(self.pod, self.node, &self.room, self.neighbours, self.snapshot.nominations())
    }

    /// Gives back every pod that can stay; who cannot, and how many of them a budget protects.
    fn spare(&mut self, removed: &[Arc<Pod>]) -> (Vec<Arc<Pod>>, usize) {
        let violates = budgets::violations(removed, self.snapshot.budgets());
        let mut order: Vec<(bool, &Arc<Pod>)> = violates.into_iter().zip(removed).collect();
        order.sort_by_key(|(violates, _)| !violates);
        let (mut victims, mut violations) = (Vec::new(), 0);
        for (violates, victim) in order {
            self.add(victim);
            if self.fits().is_err() {
                self.remove(victim);
                victims.push(victim.clone());
                violations += usize::from(violates);
            }
        }
        victims.sort_by(|one, other| importance(one).cmp(&importance(other)));
        (victims, violations)
    }
}
