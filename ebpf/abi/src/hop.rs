//! Where packets go next that leave the node.

use crate::address::Ip6;

/// How many next hops a CPU knows; a power of two.
pub const HOPS: u32 = 256;

/// In [`Hop::asked`]: asked for a driver's program, and for the packet's length.
pub const BY_WIRE: u32 = 1 << 31;

record! {
    /// What the kernel's routes and neighbours said.
    pub struct Hop {
        /// As it leaves. An IPv4 address is the first word.
        pub source: Ip6,
        pub destination: Ip6,
        /// The first twelve bytes of its frames: who receives them and who sends them.
        pub receiver: u32,
        pub both: u32,
        pub sender: u32,
        /// The link whose routes were asked.
        pub asked: u32,
        /// The link that it leaves by.
        pub link: u32,
        /// Seconds of CLOCK_MONOTONIC when they were asked.
        pub seen: u32,
        pub mtu: u32,
        /// 1 or 0.
        pub is_ipv6: u32,
    }
}
