//! Fragments after the first one carry no ports: they are remembered from the first.
//!
//! A datagram is known by its ends, its protocol and its identification; one whose first fragment was lost, or comes late, is nobody's.
//! Nothing is put together here.
//!
//! Reference: RFC 791, 3.2; RFC 8200, 4.5.

use abi::{FragmentKey, FragmentKey6, FragmentPorts, Ip4, Ip6};

use crate::maps;
use crate::parse::{Part, Seen};

/// Gives later fragments the ports of the first one. False: they are not known.
#[inline(always)]
pub fn gather(seen: &mut Seen<Ip4>) -> bool {
    if seen.part != Part::First && seen.part != Part::Later {
        return true;
    }
    let key = FragmentKey {
        source: seen.flow.source,
        destination: seen.flow.destination,
        identification: seen.identification as u16,
        protocol: seen.flow.protocol,
        pad: 0,
    };
    if seen.part == Part::First {
        let ports = FragmentPorts {
            source_port: seen.flow.source_port,
            destination_port: seen.flow.destination_port,
        };
        let _ = maps::FRAGMENTS4.insert(key, ports, 0);
        return true;
    }
    // SAFETY: entries are replaced whole and freed after the programs that see them.
    match unsafe { maps::FRAGMENTS4.get(key) } {
        Some(ports) => {
            seen.flow.source_port = ports.source_port;
            seen.flow.destination_port = ports.destination_port;
            true
        }
        None => false,
    }
}

/// As [`gather`].
#[inline(always)]
pub fn gather6(seen: &mut Seen<Ip6>) -> bool {
    if seen.part != Part::First && seen.part != Part::Later {
        return true;
    }
    let key = FragmentKey6 {
        source: seen.flow.source,
        destination: seen.flow.destination,
        identification: seen.identification,
    };
    if seen.part == Part::First {
        let ports = FragmentPorts {
            source_port: seen.flow.source_port,
            destination_port: seen.flow.destination_port,
        };
        let _ = maps::FRAGMENTS6.insert(key, ports, 0);
        return true;
    }
    // SAFETY: entries are replaced whole and freed after the programs that see them.
    match unsafe { maps::FRAGMENTS6.get(key) } {
        Some(ports) => {
            seen.flow.source_port = ports.source_port;
            seen.flow.destination_port = ports.destination_port;
            true
        }
        None => false,
    }
}
