//! Maglev's table: a set of backends spread over a fixed number of places, so that every node that has the same set
//! chooses the same backend for a flow, and few flows move when the set changes. Pure.
//!
//! Reference: "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

use std::net::{IpAddr, SocketAddr};

use abi::{ChoiceTable, TABLE_LENGTH};

/// Slots of the backends, which are numbered in their order; None for more than a slot number can tell, or for none.
pub(crate) fn table(backends: &[SocketAddr]) -> Option<ChoiceTable> {
    if backends.is_empty() || backends.len() > TABLE_LENGTH {
        return None;
    }
    let mut table = ChoiceTable { slots: [u16::MAX; TABLE_LENGTH], pad: 0 };
    let mut order: Vec<Preference> = backends.iter().map(Preference::of).collect();
    let mut filled = 0;
    loop {
        for (slot, preference) in (0..).zip(&mut order) {
            let mut place = preference.next();
            while table.slots[place] != u16::MAX {
                place = preference.next();
            }
            table.slots[place] = slot;
            filled += 1;
            if filled == TABLE_LENGTH {
                return Some(table);
            }
        }
    }
}

/// The places in the order in which a backend wants them: every one once, because their number is prime.
struct Preference {
    next: usize,
    skip: usize,
}

impl Preference {
    fn of(backend: &SocketAddr) -> Preference {
        Preference {
            next: hash(backend, 0) as usize % TABLE_LENGTH,
            skip: hash(backend, 1) as usize % (TABLE_LENGTH - 1) + 1,
        }
    }

    fn next(&mut self) -> usize {
        let place = self.next;
        self.next = (self.next + self.skip) % TABLE_LENGTH;
        place
    }
}

/// FNV-1a, and its bits mixed: the same on every node, whatever it was built with.
fn hash(backend: &SocketAddr, salt: u8) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ u64::from(salt);
    let mut take = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    take(&backend.port().to_be_bytes());
    match backend.ip() {
        IpAddr::V4(ip) => take(&ip.octets()),
        IpAddr::V6(ip) => take(&ip.octets()),
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53) >> 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|last| SocketAddr::from(([10, 1, 0, last], 80))).collect()
    }

    #[test]
    fn places_are_shared_evenly() {
        for count in [1, 2, 7, 100] {
            let table = table(&backends(count)).unwrap();
            let fair = TABLE_LENGTH as f64 / f64::from(count);
            for slot in 0..u16::from(count) {
                let share = table.slots.iter().filter(|place| **place == slot).count() as f64;
                assert!((share - fair).abs() <= fair * 0.25 + 1.0, "{count} backends, {slot}: {share}");
            }
        }
    }

    #[test]
    fn few_places_move() {
        let before = table(&backends(10)).unwrap();
        let after = table(&backends(9)).unwrap();
        let moved = before.slots.iter().zip(&after.slots).filter(|(a, b)| a != b && **a != 9).count();
        assert!(moved < TABLE_LENGTH / 10, "{moved} of those that led to backends that stay");
    }

    #[test]
    fn there_is_none_for_nobody() {
        assert!(table(&[]).is_none());
        let many: Vec<SocketAddr> =
            (0..2000_u16).map(|port| SocketAddr::from(([10, 1, 0, 1], port + 1))).collect();
        assert!(table(&many).is_none());
    }
}
