//! What one rule opens: to whom, and which ports.

use std::sync::Arc;

use datapath::{Direction, Ports};

use super::cluster::Class;
use super::rule::{Policy, Port, Rule, Which};
use super::selections::Whom;

/// A rule as the datapath needs it.
#[derive(Debug)]
pub struct Opening {
    pub direction: Direction,
    /// No two alike.
    pub whom: Vec<Arc<Whom>>,
    ports: Vec<Ports>,
    /// Ports by the name that the receiver gives them, with their protocol.
    names: Vec<(String, u8)>,
}

// === impl Opening ===

impl Opening {
    /// All rules of a policy.
    pub fn all(policy: &Policy) -> Vec<Opening> {
        let of = |direction| {
            let rules = policy.rules(direction).unwrap_or_default().iter();
            rules.map(move |rule| Opening::new(direction, rule, &policy.namespace))
        };
        of(Direction::Ingress).chain(of(Direction::Egress)).collect()
    }

    fn new(direction: Direction, rule: &Rule, namespace: &str) -> Opening {
        let names: Vec<(String, u8)> = rule.ports.iter().filter_map(name).collect();
        let mut all: Vec<Whom> = rule.peers.iter().map(|peer| Whom::of(peer, namespace)).collect();
        if all.is_empty() {
            all.push(Whom::Anybody);
            all.extend((direction == Direction::Egress && !names.is_empty()).then_some(Whom::Named));
        }
        let mut whom: Vec<Arc<Whom>> = Vec::new();
        for one in all {
            if !whom.iter().any(|known| **known == one) {
                whom.push(Arc::new(one));
            }
        }
        let ports = if rule.ports.is_empty() {
            vec![Ports::All]
        } else {
            rule.ports.iter().flat_map(numbered).collect()
        };
        Opening { direction, whom, ports, names }
    }

    /// Ports between a subject and a peer that the rule means.
    pub fn ports<'a>(
        &'a self,
        whom: &Whom,
        subject: &'a Class,
        peer: Option<&'a Class>,
    ) -> impl Iterator<Item = Ports> + use<'a> {
        // The name is the receiver's.
        let receiver = if self.direction == Direction::Ingress { Some(subject) } else { peer };
        let named = self.names.iter().flat_map(move |(name, protocol)| {
            let numbers = receiver.into_iter().flat_map(|class| class.named(name, *protocol));
            numbers.map(|first| Ports::Of { protocol: *protocol, first, bits: 16 })
        });
        let numbered: &[Ports] = if *whom == Whom::Named { &[] } else { &self.ports };
        numbered.iter().copied().chain(named)
    }
}

fn name(port: &Port) -> Option<(String, u8)> {
    if let Which::Named(name) = &port.which { Some((name.clone(), port.protocol)) } else { None }
}

fn numbered(port: &Port) -> Vec<Ports> {
    let protocol = port.protocol;
    match port.which {
        Which::All => vec![Ports::Of { protocol, first: 0, bits: 0 }],
        Which::Range(first, last) => {
            blocks(first, last).into_iter().map(|(first, bits)| Ports::Of { protocol, first, bits }).collect()
        }
        Which::Named(_) => Vec::new(),
    }
}

/// A range of ports as blocks that share their first bits: the first port and how many bits.
pub fn blocks(first: u16, last: u16) -> Vec<(u16, u8)> {
    let mut blocks = Vec::new();
    let (mut at, end) = (u32::from(first), u32::from(last) + 1);
    while at < end {
        let mut free = if at == 0 { 16 } else { at.trailing_zeros().min(16) };
        while at + (1 << free) > end {
            free -= 1;
        }
        blocks.push((u16::try_from(at).unwrap_or(u16::MAX), u8::try_from(16 - free).unwrap_or(16)));
        at += 1 << free;
    }
    blocks
}
