//! Removes flows that have ended.
//!
//! The kernel's hash maps have no timers and the programs see no event when a flow falls silent, so this is
//! the one place that looks at a clock: somebody calls [`Conntrack::sweep`] every [`SWEEP_SECONDS`] (the
//! accepted exception from "nothing polls"). A sweep looks at every entry once, in a bounded time: there
//! are at most abi's capacity of them.
//!
//! **Invariants.** Both entries of a flow go together, judged by the younger of them. A program that makes the same
//! flow anew meanwhile makes both anew.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use abi::{Affinity, AffinityKey, Flow, FlowFlag, FlowState, HOST_PORT, Ip4, Ip6, Protocol, Scope, capacity};
use aya::Pod;

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::services::{Backend, Transport};
use crate::tables::Table;

/// How often [`Conntrack::sweep`] is meant to be called.
pub const SWEEP_SECONDS: u32 = 10;

/// Silence after which a flow is forgotten.
const ESTABLISHED_SECONDS: u32 = 6 * 3600;
const SYN_SECONDS: u32 = 60;
const CLOSING_SECONDS: u32 = 10;
const UDP_SECONDS: u32 = 30;
const UDP_ANSWERED_SECONDS: u32 = 120;
const ICMP_SECONDS: u32 = 30;
/// Several heartbeats of an association.
const SCTP_SECONDS: u32 = 300;
/// Under pressure: what is likely to be over, and the silence after which even an established connection is.
const HASTE_SECONDS: u32 = 5;
const SPARED_SECONDS: u32 = 600;
const HIGH_PERCENT: usize = 75;
const FULL_PERCENT: usize = 95;
/// The longest affinity that Kubernetes allows.
const AFFINITY_SECONDS_MAX: u32 = 86_400;

#[derive(Debug)]
pub struct Conntrack {
    v4: Table<Flow<Ip4>, FlowState<Ip4>>,
    v6: Table<Flow<Ip6>, FlowState<Ip6>>,
    affinity4: Table<AffinityKey<Ip4>, Affinity<Ip4>>,
    affinity6: Table<AffinityKey<Ip6>, Affinity<Ip6>>,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries before it; two a flow.
    pub entries: usize,
    pub removed: usize,
    /// Of the fuller of the two maps.
    pub pressure: Pressure,
}

/// How full a map of flows is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Silence is borne as long as the protocols want.
    #[default]
    None,
    /// More than [`HIGH_PERCENT`]: attempts that nobody answered, closed connections and silent datagrams go early.
    High,
    /// More than [`FULL_PERCENT`]: new flows are about to be dropped. Established connections that have been silent
    /// for [`SPARED_SECONDS`] go as well; what talks stays.
    Full,
}

/// A flow in one direction, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// What its packets become.
    pub becomes_source: SocketAddr,
    pub becomes_destination: SocketAddr,
    /// abi's `FlowFlag`.
    pub flags: u16,
    pub idle_seconds: u32,
}

/// Where a client of a Service was led.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Led {
    /// What it asked for.
    pub asked: SocketAddr,
    pub scope: Scope,
    pub backend: Backend,
}

// === impl Pressure ===

impl Pressure {
    fn of(entries: usize, capacity: usize) -> Pressure {
        if entries * 100 > capacity * FULL_PERCENT {
            Pressure::Full
        } else if entries * 100 > capacity * HIGH_PERCENT {
            Pressure::High
        } else {
            Pressure::None
        }
    }
}

// === impl Conntrack ===

impl Conntrack {
    pub(crate) fn open(pins: &Pins) -> Result<Conntrack, DatapathError> {
        Ok(Conntrack {
            v4: Table::open(pins, "FLOWS4")?,
            v6: Table::open(pins, "FLOWS6")?,
            affinity4: Table::open(pins, "AFFINITY4")?,
            affinity6: Table::open(pins, "AFFINITY6")?,
        })
    }

    /// Removes what is over.
    pub fn sweep(&mut self) -> Result<Swept, DatapathError> {
        let now = clock_seconds();
        let mut swept = sweep(&mut self.v4, capacity::FLOWS4, now)?;
        let v6 = sweep(&mut self.v6, capacity::FLOWS6, now)?;
        swept.entries += v6.entries;
        swept.removed += v6.removed;
        swept.pressure = swept.pressure.max(v6.pressure);
        forget_old_affinity(&mut self.affinity4, now)?;
        forget_old_affinity(&mut self.affinity6, now)?;
        Ok(swept)
    }

    /// Removes the flows to a backend that is gone, so that a client with the same port is sent elsewhere.
    /// Meant for UDP, where nothing else ends a flow. Returns how many entries went.
    pub fn forget_backend(
        &mut self,
        backend: SocketAddr,
        transport: Transport,
    ) -> Result<usize, DatapathError> {
        let (protocol, port) = (transport.number(), backend.port().to_be());
        match backend.ip() {
            IpAddr::V4(ip) => forget(&mut self.v4, Ip4::from(ip), port, protocol),
            IpAddr::V6(ip) => forget(&mut self.v6, Ip6::from(ip), port, protocol),
        }
    }

    /// Where clients of Services are led by their flows, each place once.
    pub fn led(&self, transport: Transport) -> Result<HashSet<Led>, DatapathError> {
        let protocol = transport.number();
        let mut all = HashSet::new();
        all.extend(
            self.v4
                .entries()?
                .iter()
                .filter_map(|(flow, state)| led(flow, state, protocol, |a| IpAddr::V4(a.into()))),
        );
        all.extend(
            self.v6
                .entries()?
                .iter()
                .filter_map(|(flow, state)| led(flow, state, protocol, |a| IpAddr::V6(a.into()))),
        );
        Ok(all)
    }

    /// Removes every flow of an address that is a pod's no longer: the next pod that gets it begins without.
    /// Returns how many entries went.
    pub fn forget_address(&mut self, address: IpAddr) -> Result<usize, DatapathError> {
        match address {
            IpAddr::V4(ip) => forget_all(&mut self.v4, Ip4::from(ip)),
            IpAddr::V6(ip) => forget_all(&mut self.v6, Ip6::from(ip)),
        }
    }

    /// Every entry that is in the maps.
    pub fn observed(&self) -> Result<Vec<Entry>, DatapathError> {
        let now = clock_seconds();
        let v4 = self
            .v4
            .entries()?
            .into_iter()
            .map(|(flow, state)| entry(&flow, &state, now, |a| IpAddr::V4(a.into())));
        let v6 = self
            .v6
            .entries()?
            .into_iter()
            .map(|(flow, state)| entry(&flow, &state, now, |a| IpAddr::V6(a.into())));
        Ok(v4.chain(v6).collect())
    }
}

/// CLOCK_MONOTONIC, as the programs see it.
fn clock_seconds() -> u32 {
    rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec as u32
}

fn sweep<A: Copy + Eq + std::hash::Hash>(
    table: &mut Table<Flow<A>, FlowState<A>>,
    capacity: u32,
    now: u32,
) -> Result<Swept, DatapathError>
where
    Flow<A>: Pod + Eq + std::hash::Hash,
    FlowState<A>: Pod,
{
    let entries: HashMap<Flow<A>, FlowState<A>> = table.entries()?.into_iter().collect();
    let pressure = Pressure::of(entries.len(), capacity as usize);
    let mut swept = Swept { entries: entries.len(), removed: 0, pressure };
    for (flow, state) in &entries {
        if is_over(flow.protocol, state, entries.get(&state.partner(flow.protocol)), now, pressure) {
            swept.removed += usize::from(table.remove(flow)?);
        }
    }
    Ok(swept)
}

/// Whether a flow has been silent long enough, as seen from either of its entries.
fn is_over<A: Copy>(
    protocol: u8,
    own: &FlowState<A>,
    partner: Option<&FlowState<A>>,
    now: u32,
    pressure: Pressure,
) -> bool {
    let other = partner.unwrap_or(own);
    let has = |flag: u16| [own, other].map(|state| state.flags & flag != 0);
    let answered = has(FlowFlag::SEEN) == [true, true] && partner.is_some();
    let seconds = match protocol {
        Protocol::TCP if has(FlowFlag::RST).contains(&true) || has(FlowFlag::FIN) == [true, true] => {
            CLOSING_SECONDS
        }
        Protocol::TCP if answered && has(FlowFlag::ESTABLISHED).contains(&true) => ESTABLISHED_SECONDS,
        Protocol::TCP => SYN_SECONDS,
        Protocol::UDP if answered => UDP_ANSWERED_SECONDS,
        Protocol::UDP => UDP_SECONDS,
        Protocol::SCTP => SCTP_SECONDS,
        _ => ICMP_SECONDS,
    };
    let seconds = match (pressure, seconds) {
        (Pressure::None, seconds) | (Pressure::High, seconds @ ESTABLISHED_SECONDS) => seconds,
        (Pressure::Full, ESTABLISHED_SECONDS) => SPARED_SECONDS,
        (_, UDP_ANSWERED_SECONDS) => UDP_SECONDS,
        (_, seconds) => seconds.min(HASTE_SECONDS),
    };
    let seen = if now.wrapping_sub(own.seen) < now.wrapping_sub(other.seen) { own.seen } else { other.seen };
    // A program may have stamped it after `now` was read.
    let idle = now.wrapping_sub(seen);
    idle < u32::MAX / 2 && idle > seconds
}

fn forget<A: Copy + Eq>(
    table: &mut Table<Flow<A>, FlowState<A>>,
    address: A,
    port: u16,
    protocol: u8,
) -> Result<usize, DatapathError>
where
    Flow<A>: Pod,
    FlowState<A>: Pod,
{
    let mut removed = 0;
    for (flow, state) in table.entries()? {
        let leads_there = state.destination == address && state.destination_port == port;
        if flow.protocol == protocol && leads_there && state.flags & FlowFlag::TRANSLATED != 0 {
            removed += usize::from(table.remove(&flow)?);
            removed += usize::from(table.remove(&state.partner(protocol))?);
        }
    }
    Ok(removed)
}

fn led<A: Copy>(flow: &Flow<A>, state: &FlowState<A>, protocol: u8, ip: impl Fn(A) -> IpAddr) -> Option<Led> {
    let of_service = state.service != 0 && state.service != HOST_PORT;
    if flow.protocol != protocol || !of_service || state.flags & FlowFlag::REPLY != 0 {
        return None;
    }
    Some(Led {
        asked: SocketAddr::new(ip(flow.destination), u16::from_be(flow.destination_port)),
        scope: if state.flags & FlowFlag::EXTERNAL != 0 { Scope::External } else { Scope::Cluster },
        backend: SocketAddr::new(ip(state.destination), u16::from_be(state.destination_port)),
    })
}

fn forget_all<A: Copy + Eq>(
    table: &mut Table<Flow<A>, FlowState<A>>,
    address: A,
) -> Result<usize, DatapathError>
where
    Flow<A>: Pod,
    FlowState<A>: Pod,
{
    let mut removed = 0;
    for (flow, state) in table.entries()? {
        if [flow.source, flow.destination, state.source, state.destination].contains(&address) {
            removed += usize::from(table.remove(&flow)?);
        }
    }
    Ok(removed)
}

fn forget_old_affinity<A: Copy>(
    table: &mut Table<AffinityKey<A>, Affinity<A>>,
    now: u32,
) -> Result<(), DatapathError>
where
    AffinityKey<A>: Pod,
    Affinity<A>: Pod,
{
    for (key, affinity) in table.entries()? {
        let idle = now.wrapping_sub(affinity.seen);
        if idle < u32::MAX / 2 && idle > AFFINITY_SECONDS_MAX {
            table.remove(&key)?;
        }
    }
    Ok(())
}

fn entry<A: Copy>(flow: &Flow<A>, state: &FlowState<A>, now: u32, ip: impl Fn(A) -> IpAddr) -> Entry {
    let socket = |address: A, port: u16| SocketAddr::new(ip(address), u16::from_be(port));
    Entry {
        protocol: flow.protocol,
        source: socket(flow.source, flow.source_port),
        destination: socket(flow.destination, flow.destination_port),
        becomes_source: socket(state.source, state.source_port),
        becomes_destination: socket(state.destination, state.destination_port),
        flags: state.flags,
        idle_seconds: now.saturating_sub(state.seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 100_000;

    fn state(flags: u16, idle: u32) -> FlowState<Ip4> {
        FlowState { flags, seen: NOW.wrapping_sub(idle), ..FlowState::default() }
    }

    #[test]
    fn flows_end_when_both_directions_are_silent() {
        let seen = FlowFlag::SEEN;
        let up = seen | FlowFlag::ESTABLISHED;
        let check = |protocol, own: FlowState<Ip4>, partner: Option<FlowState<Ip4>>, expect: bool| {
            let over = is_over(protocol, &own, partner.as_ref(), NOW, Pressure::None);
            assert_eq!(over, expect, "{own:?} {partner:?}");
        };
        check(Protocol::UDP, state(seen, 29), Some(state(0, 29)), false);
        check(Protocol::UDP, state(seen, 31), Some(state(0, 31)), true);
        check(Protocol::UDP, state(seen, 31), Some(state(seen, 31)), false);
        check(Protocol::UDP, state(seen, 500), Some(state(seen, 3)), false);
        check(Protocol::UDP, state(seen, 500), None, true);
        check(Protocol::TCP, state(seen, 61), Some(state(0, 61)), true);
        check(Protocol::TCP, state(up, 3600), Some(state(up, 3600)), false);
        check(Protocol::TCP, state(up, 22_000), Some(state(up, 22_000)), true);
        check(Protocol::TCP, state(up | FlowFlag::FIN, 3600), Some(state(up, 3600)), false);
        check(Protocol::TCP, state(up | FlowFlag::FIN, 11), Some(state(up | FlowFlag::FIN, 11)), true);
        check(Protocol::TCP, state(up, 11), Some(state(up | FlowFlag::RST, 11)), true);
        check(Protocol::TCP, state(up | FlowFlag::RST, 9), Some(state(up, 9)), false);
        check(Protocol::ICMP, state(seen, 31), Some(state(seen, 31)), true);
        // Stamped by a program after the clock was read.
        check(Protocol::UDP, state(seen, u32::MAX), Some(state(0, u32::MAX)), false);
    }
    #[test]
    fn a_full_map_keeps_what_talks() {
        let up = FlowFlag::SEEN | FlowFlag::ESTABLISHED;
        let check = |protocol, flags: u16, idle: u32, expect: [bool; 3]| {
            let (own, partner) = (state(flags, idle), state(flags, idle));
            let over = [Pressure::None, Pressure::High, Pressure::Full]
                .map(|pressure| is_over(protocol, &own, Some(&partner), NOW, pressure));
            assert_eq!(over, expect, "{protocol} {flags:b} {idle}");
        };
        check(Protocol::TCP, up, 599, [false, false, false]);
        check(Protocol::TCP, up, 601, [false, false, true]);
        check(Protocol::TCP, up | FlowFlag::FIN, 6, [false, true, true]);
        check(Protocol::TCP, 0, 6, [false, true, true]);
        check(Protocol::TCP, 0, 4, [false, false, false]);
        check(Protocol::UDP, FlowFlag::SEEN, 29, [false, false, false]);
        check(Protocol::UDP, FlowFlag::SEEN, 31, [false, true, true]);
        check(Protocol::UDP, 0, 6, [false, true, true]);
        assert_eq!(
            [70, 80, 96].map(|entries| Pressure::of(entries, 100)),
            [Pressure::None, Pressure::High, Pressure::Full]
        );
    }
}
