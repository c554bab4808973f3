//! Services: frontends, sets of backends, session affinity.
//!
//! A set of backends never changes: a new list is a new set under a new number, written before the frontends
//! are pointed at it and the old set is removed. So no program ever sees half a list.

/// Who asks: the same address and port may lead elsewhere for pods and for the world.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Pods of this node and processes of this node.
    Cluster = 0,
    /// What comes in over an uplink.
    External = 1,
}

/// Bits of [`Service::flags`].
pub struct ServiceFlag;

impl ServiceFlag {
    /// sessionAffinity: ClientIP.
    pub const AFFINITY: u16 = 1;
    /// externalTrafficPolicy: Local; the set holds only backends of this node and the client's address stays.
    pub const EXTERNAL_LOCAL: u16 = 1 << 1;
    /// internalTrafficPolicy: Local; the set holds only backends of this node.
    pub const INTERNAL_LOCAL: u16 = 1 << 2;
    /// A node port: the key's address is unspecified and stands for every address of the node.
    pub const NODE_PORT: u16 = 1 << 3;
}

record! {
    /// A frontend. The address of a node port is unspecified.
    pub struct ServiceKey<A> {
        pub address: A,
        /// Network order.
        pub port: u16,
        pub protocol: u8,
        /// [`Scope`].
        pub scope: u8,
    }
}

record! {
    /// Where a frontend leads.
    pub struct Service {
        /// Number of the service's port, the same for all its frontends: affinity is kept by it.
        pub service: u32,
        /// Set of backends.
        pub set: u32,
        /// Slots 0..count of the set; 0: connections are refused.
        pub count: u32,
        /// timeoutSeconds of ClientIP.
        pub affinity_seconds: u32,
        /// [`ServiceFlag`].
        pub flags: u16,
        pub pad: u16,
    }
}

record! {
    pub struct BackendKey {
        pub set: u32,
        pub slot: u32,
    }
}

record! {
    pub struct Backend<A> {
        pub address: A,
        /// Network order.
        pub port: u16,
        pub pad: u16,
    }
}

record! {
    pub struct MemberKey<A> {
        pub set: u32,
        pub address: A,
        /// Network order.
        pub port: u16,
        pub pad: u16,
    }
}

record! {
    pub struct AffinityKey<A> {
        pub service: u32,
        /// The client's address; on the socket path the address of its pod, or unspecified for the node itself.
        pub client: A,
    }
}

record! {
    pub struct Affinity<A> {
        pub address: A,
        /// Network order.
        pub port: u16,
        pub pad: u16,
        /// Seconds of CLOCK_MONOTONIC when it was last used.
        pub seen: u32,
    }
}
