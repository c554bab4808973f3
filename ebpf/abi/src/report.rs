//! What the programs tell of single packets.

/// What happened.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportKind {
    /// Dropped; the reason is a [`crate::Counter`].
    Dropped = 0,
    /// The first packet of a flow went on.
    Began = 1,
    /// A later packet went on that changed the state of its flow: the first answer, FIN, RST.
    Went = 2,
}

/// The most of one kind that one CPU makes: of drops, and of the rest.
pub const REPORTS_PER_SECOND: [u32; 2] = [1_000, 10_000];

record! {
    /// A packet. IPv4 addresses are in `a`, the rest of theirs is zero. Ports in network order.
    pub struct Report {
        pub source: crate::Ip6,
        pub destination: crate::Ip6,
        /// What it became.
        pub to_source: crate::Ip6,
        pub to_destination: crate::Ip6,
        /// Nanoseconds of CLOCK_MONOTONIC.
        pub time_high: u32,
        pub time_low: u32,
        /// Where it was met, and how long it is.
        pub link: u32,
        pub length: u32,
        pub source_port: u16,
        pub destination_port: u16,
        pub to_source_port: u16,
        pub to_destination_port: u16,
        /// [`crate::FlowFlag`] of its flow.
        pub flow: u16,
        /// 4 or 6; 0: unreadable.
        pub family: u8,
        pub protocol: u8,
        /// [`ReportKind`].
        pub kind: u8,
        /// [`crate::Counter`].
        pub reason: u8,
        /// TCP flags.
        pub tcp: u8,
        pub pad: u8,
    }
}

record! {
    /// Reports of one kind in the running second.
    pub struct Rate {
        pub second: u32,
        pub count: u32,
    }
}

impl Report {
    /// A report as it lies in the ring; None if there are not enough bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Report> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let byte = |at: usize| bytes.get(at).copied();
        let address = |at: usize| {
            Some(crate::Ip6 { a: word(at)?, b: word(at + 4)?, c: word(at + 8)?, d: word(at + 12)? })
        };
        use core::mem::offset_of;
        Some(Report {
            source: address(offset_of!(Report, source))?,
            destination: address(offset_of!(Report, destination))?,
            to_source: address(offset_of!(Report, to_source))?,
            to_destination: address(offset_of!(Report, to_destination))?,
            time_high: word(offset_of!(Report, time_high))?,
            time_low: word(offset_of!(Report, time_low))?,
            link: word(offset_of!(Report, link))?,
            length: word(offset_of!(Report, length))?,
            source_port: half(offset_of!(Report, source_port))?,
            destination_port: half(offset_of!(Report, destination_port))?,
            to_source_port: half(offset_of!(Report, to_source_port))?,
            to_destination_port: half(offset_of!(Report, to_destination_port))?,
            flow: half(offset_of!(Report, flow))?,
            family: byte(offset_of!(Report, family))?,
            protocol: byte(offset_of!(Report, protocol))?,
            kind: byte(offset_of!(Report, kind))?,
            reason: byte(offset_of!(Report, reason))?,
            tcp: byte(offset_of!(Report, tcp))?,
            pad: 0,
        })
    }
}
