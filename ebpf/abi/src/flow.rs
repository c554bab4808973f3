//! Conntrack and NAT in one map.
//!
//! A flow is two entries, each saying what a packet with these addresses and ports becomes:
//!
//! ```text
//! client:sp -> vip:vp       =>  client:sp' -> backend:bp      made when its first packet comes
//! backend:bp -> client:sp'  =>  vip:vp -> client:sp           inserted first, and only where nothing is
//! ```
//!
//! The second insertion is the check for collisions: where the key is taken, another source port is tried.
//! A flow that is not translated has the same two entries. The key of one is the value of the other,
//! turned round, so either finds its partner.

/// IP protocol numbers that are told apart.
pub struct Protocol;

impl Protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// Bits of [`FlowState::flags`].
pub struct FlowFlag;

impl FlowFlag {
    /// The entry of the answers.
    pub const REPLY: u16 = 1;
    /// Packets of this direction were seen.
    pub const SEEN: u16 = 1 << 1;
    /// This direction sent FIN.
    pub const FIN: u16 = 1 << 2;
    /// This direction sent RST.
    pub const RST: u16 = 1 << 3;
    /// Addresses or ports change.
    pub const TRANSLATED: u16 = 1 << 4;
    /// The source is hidden behind the node.
    pub const MASQUERADED: u16 = 1 << 5;
    /// This direction sent something other than SYN: the connection stands.
    pub const ESTABLISHED: u16 = 1 << 6;
    /// Its service was found in the external scope.
    pub const EXTERNAL: u16 = 1 << 7;
}

record! {
    /// One direction of a flow. ICMP echo: the identifier is the source port of a request and the
    /// destination port of a reply, the other one is zero.
    pub struct Flow<A> {
        pub source: A,
        pub destination: A,
        /// Network order.
        pub source_port: u16,
        /// Network order.
        pub destination_port: u16,
        pub protocol: u8,
        pub pad: u8,
        pub pad2: u16,
    }
}

record! {
    /// What its packets become.
    pub struct FlowState<A> {
        pub source: A,
        pub destination: A,
        /// Network order.
        pub source_port: u16,
        /// Network order.
        pub destination_port: u16,
        /// [`FlowFlag`].
        pub flags: u16,
        pub pad: u16,
        /// Seconds of CLOCK_MONOTONIC when a packet was last seen.
        pub seen: u32,
        /// The service it went to, [`HOST_PORT`], or 0.
        pub service: u32,
        /// Settings' epoch of the policies that have let it pass.
        pub epoch: u32,
    }
}

/// In the place of a service's number: it went to a host port.
pub const HOST_PORT: u32 = u32::MAX;

record! {
    pub struct FragmentKey {
        pub source: crate::Ip4,
        pub destination: crate::Ip4,
        pub identification: u16,
        pub protocol: u8,
        pub pad: u8,
    }
}

record! {
    pub struct FragmentKey6 {
        pub source: crate::Ip6,
        pub destination: crate::Ip6,
        pub identification: u32,
    }
}

record! {
    pub struct FragmentPorts {
        pub source_port: u16,
        pub destination_port: u16,
    }
}

impl<A: Copy> Flow<A> {
    /// The same flow seen from the other end.
    #[must_use]
    #[inline(always)]
    pub fn turned(&self) -> Flow<A> {
        Flow {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            pad: 0,
            pad2: 0,
        }
    }
}

impl<A: Copy> FlowState<A> {
    /// The key of the other entry: the packet as it becomes, turned round.
    #[must_use]
    #[inline(always)]
    pub fn partner(&self, protocol: u8) -> Flow<A> {
        Flow {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
            pad: 0,
            pad2: 0,
        }
    }
}
