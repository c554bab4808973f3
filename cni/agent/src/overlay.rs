//! The tunnel to nodes that no network of the uplink reaches: one VXLAN link, and entries for every such node. Pure;
//! `execute` acts.
//!
//! ```text
//!  10.244.4.0/22 via 10.244.4.1 dev keelsonvx onlink      (the route is `network`'s)
//!    10.244.4.1          is 0a:6b:c6:33:64:02, permanently       the other node's end of the tunnel
//!    0a:6b:c6:33:64:02   is at 198.51.100.2                      the other node itself, UDP 8472
//! ```
//!
//! Programs and the node's own kernel take the same way: whoever follows the route finds the neighbour, and the link the
//! node behind it. Nothing is learned, flooded or asked for; the Ethernet address of a node's end follows from the node's own
//! address, so nobody has to tell it.
//!
//! **Invariants.** `plan` is total and pure: nothing missing, no step. A link whose parameters differ is made anew.
//!
//! Reference: RFC 7348; Linux' vxlan(8), whose usual port this is.

mod execute;

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use netlink::{Forward, Link, Mac, Neighbour};

use crate::names::Names;
use crate::network::tunnel_hop;
use crate::node::Node;
use crate::uplink::Uplink;

pub const PORT: u16 = 8472;
pub const VNI: u32 = 75;
/// What the tunnel adds to a packet: Ethernet, IP, UDP and VXLAN headers.
const OVERHEAD_IPV4: u32 = 50;
const OVERHEAD_IPV6: u32 = 70;

/// When nodes are reached through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Where no network of the uplink reaches them.
    #[default]
    Auto,
    /// All of them.
    Always,
    /// None.
    Never,
}

/// What the node shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub name: String,
    pub mtu: u32,
    pub mac: Mac,
    /// The link under it.
    pub underlay: u32,
    /// Where other nodes send to.
    pub local: IpAddr,
    pub peers: Vec<Peer>,
}

/// A node behind the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: String,
    pub address: IpAddr,
    pub mac: Mac,
    /// Next hops of the routes to its pods.
    pub hops: Vec<IpAddr>,
}

/// What the kernel has of it.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub link: Option<Link>,
    /// Permanent ones, on the link.
    pub neighbours: Vec<Neighbour>,
    pub forwards: Vec<Forward>,
}

/// In the order in which they are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    RemoveLink(u32),
    MakeLink,
    /// Quiet, and up.
    SetUp,
    /// One batch.
    Enter {
        forwards: Vec<(Mac, IpAddr)>,
        neighbours: Vec<(IpAddr, Mac)>,
    },
    Remove {
        forwards: Vec<Forward>,
        neighbours: Vec<Neighbour>,
    },
}

impl Desired {
    /// None where no node needs it, or nothing could carry it.
    pub fn new(
        names: &Names,
        mode: Mode,
        own: &Node,
        others: &[Node],
        uplink: Option<&Uplink>,
        local: Option<IpAddr>,
    ) -> Option<Desired> {
        let uplink = uplink.filter(|_| mode != Mode::Never)?;
        let local = local.or_else(|| own.addresses.first().copied())?;
        let ipv6 = local.is_ipv6();
        let peers: Vec<Peer> = others
            .iter()
            .filter_map(|other| {
                let address = other.address(ipv6)?;
                let far = other.ranges.iter().filter(|range| {
                    mode == Mode::Always
                        || !other.address(range.addr().is_ipv6()).is_some_and(|via| uplink.is_direct(via))
                });
                let hops: Vec<IpAddr> = far.map(|range| tunnel_hop(*range)).collect();
                let node = other.name.clone();
                (!hops.is_empty()).then(|| Peer { node, address, mac: mac_of(address), hops })
            })
            .collect();
        if peers.is_empty() && mode == Mode::Auto {
            return None;
        }
        let overhead = if ipv6 { OVERHEAD_IPV6 } else { OVERHEAD_IPV4 };
        Some(Desired {
            name: names.tunnel.clone(),
            mtu: uplink.mtu.saturating_sub(overhead),
            mac: mac_of(local),
            underlay: uplink.index,
            local,
            peers,
        })
    }

    /// What a link of these parameters is marked with; the kernel keeps it.
    pub fn mark(&self) -> String {
        format!("keelson tunnel: id {VNI}, port {PORT}, from {} over link {}", self.local, self.underlay)
    }

    fn forwards(&self) -> impl Iterator<Item = (Mac, IpAddr)> + '_ {
        self.peers.iter().map(|peer| (peer.mac, peer.address))
    }

    fn neighbours(&self) -> impl Iterator<Item = (IpAddr, Mac)> + '_ {
        self.peers.iter().flat_map(|peer| peer.hops.iter().map(|hop| (*hop, peer.mac)))
    }
}

/// The Ethernet address of a node's end of the tunnel.
pub fn mac_of(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Mac([0x0a, 0x6b, a, b, c, d])
        }
        // Forty bits of the address, mixed: 5,000 nodes meet with a chance of one in 100,000.
        IpAddr::V6(address) => {
            let mixed = address.octets().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            let [_, _, _, a, b, c, d, e] = mixed.to_be_bytes();
            Mac([0x0e, a, b, c, d, e])
        }
    }
}

/// What has to be done. Entries of nodes that are not known (any more) go only where `complete`.
pub fn plan(desired: Option<&Desired>, observed: &Observed, complete: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(desired) = desired else {
        let stale = observed.link.as_ref().filter(|_| complete);
        steps.extend(stale.map(|link| Step::RemoveLink(link.index)));
        return steps;
    };
    let fits = |link: &&Link| {
        link.kind.as_deref() == Some("vxlan")
            && link.alias.as_deref() == Some(desired.mark().as_str())
            && link.mac == Some(desired.mac)
            && link.mtu == desired.mtu
    };
    let there = observed.link.as_ref();
    let kept = there.filter(fits);
    if kept.is_none() {
        steps.extend(there.map(|link| Step::RemoveLink(link.index)));
        steps.push(Step::MakeLink);
    }
    if !kept.is_some_and(|link| link.up) {
        steps.push(Step::SetUp);
    }
    let nothing = Observed::default();
    let entries = if kept.is_some() { observed } else { &nothing };
    let forwards: Vec<_> = desired
        .forwards()
        .filter(|(mac, to)| !entries.forwards.iter().any(|there| there.mac == *mac && there.to == *to))
        .collect();
    let neighbours: Vec<_> = desired
        .neighbours()
        .filter(|(hop, mac)| {
            !entries.neighbours.iter().any(|there| there.address == *hop && there.mac == Some(*mac))
        })
        .collect();
    if !forwards.is_empty() || !neighbours.is_empty() {
        steps.push(Step::Enter { forwards, neighbours });
    }
    if complete {
        steps.extend(removal(desired, entries));
    }
    steps
}

fn removal(desired: &Desired, observed: &Observed) -> Option<Step> {
    let forwards: Vec<Forward> = observed
        .forwards
        .iter()
        .filter(|there| !desired.forwards().any(|(mac, _)| mac == there.mac))
        .cloned()
        .collect();
    let neighbours: Vec<Neighbour> = observed
        .neighbours
        .iter()
        .filter(|there| !desired.neighbours().any(|(hop, _)| hop == there.address))
        .cloned()
        .collect();
    (!forwards.is_empty() || !neighbours.is_empty()).then_some(Step::Remove { forwards, neighbours })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::RemoveLink(index) => write!(f, "no tunnel (link {index})"),
            Step::MakeLink => f.write_str("the tunnel"),
            Step::SetUp => f.write_str("the tunnel, up"),
            Step::Enter { forwards, .. } => {
                let nodes: Vec<String> = forwards.iter().map(|(_, to)| to.to_string()).collect();
                write!(f, "in the tunnel: {}", nodes.join(", "))
            }
            Step::Remove { forwards, .. } => {
                let nodes: Vec<String> = forwards.iter().map(|there| there.to.to_string()).collect();
                write!(f, "no more in the tunnel: {}", nodes.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests;
