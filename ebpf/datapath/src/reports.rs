//! What the programs tell of packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use abi::{Counter, Report, ReportKind};
use aya::maps::{MapData, RingBuf};

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::{failed, open};

/// The ring, with this process as its only reader.
pub struct Reports {
    ring: RingBuf<MapData>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Dropped(Counter),
    /// The first one of a flow went on.
    Began,
    /// A later one that changed the state of its flow went on.
    Went,
}

/// A packet that was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub verdict: Verdict,
    /// CLOCK_MONOTONIC.
    pub nanoseconds: u64,
    pub link: u32,
    pub length: u32,
    pub protocol: u8,
    pub tcp: u8,
    /// abi's `FlowFlag`.
    pub flow: u16,
    /// None: its headers could not be read.
    pub ends: Option<Ends>,
}

/// From where to where, before and after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub to_source: SocketAddr,
    pub to_destination: SocketAddr,
}

// === impl Reports ===

impl Reports {
    pub(crate) fn open(pins: &Pins) -> Result<Reports, DatapathError> {
        let ring = RingBuf::try_from(open(pins, "REPORTS")?).map_err(failed("REPORTS", "opening it"))?;
        Ok(Reports { ring })
    }

    /// The next one there is; what cannot be understood is left out. Wait for more by polling the descriptor.
    pub fn take(&mut self) -> Option<Packet> {
        while let Some(item) = self.ring.next() {
            if let Some(packet) = Report::read(&item).as_ref().and_then(packet) {
                return Some(packet);
            }
        }
        None
    }
}

impl AsFd for Reports {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reports({})", self.ring.as_raw_fd())
    }
}

fn packet(report: &Report) -> Option<Packet> {
    let verdict = match report.kind {
        kind if kind == ReportKind::Dropped as u8 => {
            Verdict::Dropped(Counter::at(report.reason.into()).map(|(counter, _)| counter)?)
        }
        kind if kind == ReportKind::Began as u8 => Verdict::Began,
        kind if kind == ReportKind::Went as u8 => Verdict::Went,
        _ => return None,
    };
    Some(Packet {
        verdict,
        nanoseconds: u64::from(report.time_high) << 32 | u64::from(report.time_low),
        link: report.link,
        length: report.length,
        protocol: report.protocol,
        tcp: report.tcp,
        flow: report.flow,
        ends: ends(report),
    })
}

fn ends(report: &Report) -> Option<Ends> {
    let address = |address: abi::Ip6| match report.family {
        4 => Some(IpAddr::V4(Ipv4Addr::from(abi::Ip4 { bits: address.a }))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(address))),
        _ => None,
    };
    let socket = |ip: abi::Ip6, port: u16| Some(SocketAddr::new(address(ip)?, u16::from_be(port)));
    Some(Ends {
        source: socket(report.source, report.source_port)?,
        destination: socket(report.destination, report.destination_port)?,
        to_source: socket(report.to_source, report.to_source_port)?,
        to_destination: socket(report.to_destination, report.to_destination_port)?,
    })
}
