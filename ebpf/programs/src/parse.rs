//! Reads the headers of a packet that lies between two addresses.
//!
//! Every access is behind a comparison with the end, in the form in which the verifier recognises it:
//! `start + constant > end`.

use abi::{Flow, Ip4, Ip6, Protocol};

use crate::family::Family;

pub const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;

/// What of the datagram this packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later one: it has none, and no checksum of the transport.
    Later,
    /// All of it, and of a protocol without ports.
    Portless,
    /// An ICMP error about another packet: see [`about4`].
    Error,
}

/// TCP flags.
pub struct Tcp;

impl Tcp {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// What the logic needs to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<A> {
    pub flow: Flow<A>,
    pub part: Part,
    /// TCP flags, or 0.
    pub tcp: u8,
    /// Offset of the transport's header.
    pub transport: u32,
    /// IPv4 identification, for fragments.
    pub identification: u16,
}

/// The packet an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<A> {
    /// As it was sent.
    pub flow: Flow<A>,
    /// Offset of its IP header and of its ports.
    pub header: u32,
    pub transport: u32,
}

/// Why there is nothing to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The linear part is shorter than the headers.
    Short,
    /// The headers contradict themselves.
    Malformed,
}

/// A value in the packet, or None if it ends before.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
unsafe fn read<T: Copy>(start: usize, end: usize, offset: usize) -> Option<T> {
    if start + offset + size_of::<T>() > end {
        return None;
    }
    let at = (start + offset) as *const T;
    // SAFETY: it ends before `end`, and the caller says that everything before is readable. In the kernel
    // packets may be read at any alignment, and a load that says so would become one of single bytes.
    Some(unsafe { if cfg!(keelson_bpf) { at.read() } else { at.read_unaligned() } })
}

/// An IPv4 packet behind an Ethernet header.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn ipv4(start: usize, end: usize) -> Result<Seen<Ip4>, Unread> {
    // SAFETY: as the caller says.
    unsafe {
        if start + ETHERNET + 20 > end {
            return Err(Unread::Short);
        }
        let ip = start + ETHERNET;
        let first = read::<u8>(ip, end, 0).ok_or(Unread::Short)?;
        let header = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header < 20 {
            return Err(Unread::Malformed);
        }
        let protocol = read::<u8>(ip, end, 9).ok_or(Unread::Short)?;
        let offset = u16::from_be(read::<u16>(ip, end, 6).ok_or(Unread::Short)?);
        let source = Ip4 { bits: read::<u32>(ip, end, 12).ok_or(Unread::Short)? };
        let destination = Ip4 { bits: read::<u32>(ip, end, 16).ok_or(Unread::Short)? };
        let transport = ETHERNET + header;
        let mut seen = Seen {
            flow: flow(source, destination, protocol),
            part: Part::Whole,
            tcp: 0,
            transport: transport as u32,
            identification: read::<u16>(ip, end, 4).ok_or(Unread::Short)?,
        };
        if offset & 0x1fff != 0 {
            seen.part = Part::Later;
            return Ok(seen);
        }
        ports(&mut seen, start + transport, end)?;
        if offset & 0x2000 != 0 && seen.part == Part::Whole {
            seen.part = Part::First;
        }
        if protocol == Protocol::ICMP && seen.part == Part::Portless {
            let kind = read::<u8>(start + transport, end, 0).ok_or(Unread::Short)?;
            // Destination unreachable (with "fragmentation needed"), time exceeded, parameter problem.
            if kind == 3 || kind == 11 || kind == 12 {
                seen.part = Part::Error;
            }
        }
        Ok(seen)
    }
}

/// An IPv6 packet behind an Ethernet header. Extension headers make it `Portless`.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn ipv6(start: usize, end: usize) -> Result<Seen<Ip6>, Unread> {
    // SAFETY: as the caller says.
    unsafe {
        let ip = start + ETHERNET;
        if ip + IPV6_HEADER > end {
            return Err(Unread::Short);
        }
        if read::<u8>(ip, end, 0).ok_or(Unread::Short)? >> 4 != 6 {
            return Err(Unread::Malformed);
        }
        let protocol = read::<u8>(ip, end, 6).ok_or(Unread::Short)?;
        let source = read::<Ip6>(ip, end, 8).ok_or(Unread::Short)?;
        let destination = read::<Ip6>(ip, end, 24).ok_or(Unread::Short)?;
        let transport = ETHERNET + IPV6_HEADER;
        let mut seen = Seen {
            flow: flow(source, destination, protocol),
            part: Part::Whole,
            tcp: 0,
            transport: transport as u32,
            identification: 0,
        };
        ports(&mut seen, start + transport, end)?;
        Ok(seen)
    }
}

#[inline(always)]
fn flow<A>(source: A, destination: A, protocol: u8) -> Flow<A> {
    Flow { source, destination, source_port: 0, destination_port: 0, protocol, pad: 0, pad2: 0 }
}

/// Ports, or the identifier of an echo.
#[inline(always)]
unsafe fn ports<A: Family>(seen: &mut Seen<A>, at: usize, end: usize) -> Result<(), Unread> {
    // SAFETY: as the caller says.
    unsafe {
        match seen.flow.protocol {
            Protocol::TCP | Protocol::UDP | Protocol::SCTP => {
                seen.flow.source_port = read::<u16>(at, end, 0).ok_or(Unread::Short)?;
                seen.flow.destination_port = read::<u16>(at, end, 2).ok_or(Unread::Short)?;
                if seen.flow.protocol == Protocol::TCP {
                    seen.tcp = read::<u8>(at, end, 13).ok_or(Unread::Short)?;
                }
            }
            protocol if protocol == A::ICMP => {
                let kind = read::<u8>(at, end, 0).ok_or(Unread::Short)?;
                let identifier = read::<u16>(at, end, 4).ok_or(Unread::Short)?;
                if kind == A::ECHO_REQUEST {
                    seen.flow.source_port = identifier;
                } else if kind == A::ECHO_REPLY {
                    seen.flow.destination_port = identifier;
                } else {
                    seen.part = Part::Portless;
                }
            }
            _ => seen.part = Part::Portless,
        }
        Ok(())
    }
}

/// The packet an ICMP error is about, if enough of it is there. `transport` is where the error begins.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn about4(start: usize, end: usize, transport: u32) -> Option<About<Ip4>> {
    // The longest header of IPv4; tells the verifier that the sum below is small.
    if transport > (ETHERNET + 60) as u32 {
        return None;
    }
    // SAFETY: as the caller says.
    unsafe {
        let ip = start + transport as usize + 8;
        let first = read::<u8>(ip, end, 0)?;
        let length = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || length < 20 {
            return None;
        }
        let protocol = read::<u8>(ip, end, 9)?;
        let source = Ip4 { bits: read::<u32>(ip, end, 12)? };
        let destination = Ip4 { bits: read::<u32>(ip, end, 16)? };
        let mut flow = flow(source, destination, protocol);
        let ports = ip + length;
        if protocol == Protocol::TCP || protocol == Protocol::UDP {
            flow.source_port = read::<u16>(ports, end, 0)?;
            flow.destination_port = read::<u16>(ports, end, 2)?;
        } else if protocol == Protocol::ICMP {
            // Errors are sent about requests only.
            flow.source_port = read::<u16>(ports, end, 4)?;
        } else {
            return None;
        }
        let header = transport + 8;
        Some(About { flow, header, transport: header + length as u32 })
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
