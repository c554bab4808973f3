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
    /// It has endpoints, but none that may be used here: silence, so that a balancer's client tries again elsewhere.
    pub const SILENT: u16 = 1 << 4;
    /// loadBalancerSourceRanges: only clients in SOURCES may.
    pub const SOURCES: u16 = 1 << 5;
    /// The backend is found in the set's TABLES, so that every node chooses the same one.
    pub const CONSISTENT: u16 = 1 << 6;
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

/// Length of a table of Maglev: a prime, more than ten times as long as there are backends of most services.
pub const TABLE_LENGTH: usize = 1021;

/// A table of Maglev: slots of a set, each about equally often.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ChoiceTable {
    pub slots: [u16; TABLE_LENGTH],
    pub pad: u16,
}

impl ChoiceTable {
    pub const SHAPE: &str = "ChoiceTable:[u16;1021],u16";
}
const _: () = assert!(size_of::<ChoiceTable>() == 2 * (TABLE_LENGTH + 1), "a field for every byte");

// SAFETY: numbers without padding (asserted above): every pattern of bits is a value.
#[cfg(feature = "aya")]
unsafe impl aya::Pod for ChoiceTable {}

record! {
    /// A client that may use a service; behind a prefix length that counts the bits of the number as well.
    pub struct SourceKey<A> {
        pub service: u32,
        pub client: A,
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
