//! Where packets go next that leave by the link they came in by.

use crate::address::{Ip6, Mac};

/// How many next hops a CPU knows; a power of two.
pub const HOPS: u32 = 256;

record! {
    /// What the kernel's routes and neighbours said.
    pub struct Hop {
        /// An IPv4 address is the first word.
        pub destination: Ip6,
        pub to: Mac,
        pub from: Mac,
        pub link: u32,
        /// Seconds of CLOCK_MONOTONIC when they were asked.
        pub seen: u32,
        pub mtu: u32,
        /// 1 or 0.
        pub is_ipv6: u32,
    }
}
