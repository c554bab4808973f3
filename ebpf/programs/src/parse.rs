//! Reads the headers of a packet that lies between two addresses.
//!
//! Every access is behind a comparison with the end, in the form in which the verifier recognises it:
//! `start + constant > end`.

use core::mem::MaybeUninit;

use abi::{Flow, Ip4, Ip6, Protocol};

use crate::family::Family;

pub const ETHERNET: usize = 14;
const IPV6_HEADER: usize = 40;
/// How many extension headers of IPv6 are gone past, and where they may end.
const EXTENSIONS_MAX: u32 = 2;
/// Eight bytes each, and eight more.
const EXTENSION_LENGTH_MAX: u8 = 7;
const TRANSPORT_LAST: u32 = (ETHERNET + IPV6_HEADER) as u32 + EXTENSIONS_MAX * 64;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

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
    /// IPv6 with extension headers that nobody has looked at yet: see [`beyond6`].
    Chain,
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
    /// For fragments.
    pub identification: u32,
    /// The word of the IP header that has the hop limit, as in the packet. IPv4: TTL, protocol, checksum; IPv6: length,
    /// next header, hop limit.
    pub head: u32,
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
            identification: u32::from(read::<u16>(ip, end, 4).ok_or(Unread::Short)?),
            head: read::<u32>(ip, end, 8).ok_or(Unread::Short)?,
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

/// An IPv6 packet behind an Ethernet header. What has extension headers is a `Chain`, for [`beyond6`].
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn ipv6(start: usize, end: usize, seen: &mut MaybeUninit<Seen<Ip6>>) -> Result<(), Unread> {
    // Into a frame of the caller's: a result that holds as much leaves registers undefined that the compiler then
    // copies and the verifier refuses.
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
        let seen = seen.write(Seen {
            flow: flow(source, destination, protocol),
            part: Part::Whole,
            tcp: 0,
            transport: transport as u32,
            identification: 0,
            head: read::<u32>(ip, end, 4).ok_or(Unread::Short)?,
        });
        if is_extension(protocol) {
            seen.part = Part::Chain;
            return Ok(());
        }
        ports(seen, start + transport, end)?;
        if protocol == Protocol::ICMP6 && seen.part == Part::Portless {
            let kind = read::<u8>(start + transport, end, 0).ok_or(Unread::Short)?;
            if is_error6(kind) {
                seen.part = Part::Error;
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == DESTINATION
}

/// Unreachable, too big, time exceeded, parameter problem.
#[inline(always)]
fn is_error6(kind: u8) -> bool {
    matches!(kind, 1..=4)
}

/// Goes past the extension headers of a `Chain`: to the transport, or to what a later fragment has in its place. More
/// than [`EXTENSIONS_MAX`] make it `Portless`. False: it ends before, or goes on for too long.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn beyond6(start: usize, end: usize, seen: &mut Seen<Ip6>) -> bool {
    let mut transport = (ETHERNET + IPV6_HEADER) as u32;
    let mut next = seen.flow.protocol;
    let mut part = Part::Whole;
    let mut passed = 0;
    // SAFETY: as the caller says.
    unsafe {
        while passed < EXTENSIONS_MAX && is_extension(next) {
            let at = start + transport as usize;
            // Two bytes: of one at a distance that varies the verifier does not see that it is compared with the end.
            let Some([following, length]) = read::<[u8; 2]>(at, end, 0) else { return false };
            if next == FRAGMENT {
                let Some(offset) = read::<u16>(at, end, 2) else { return false };
                let Some(identification) = read::<u32>(at, end, 4) else { return false };
                seen.identification = identification;
                transport += 8;
                if u16::from_be(offset) & 0xfff8 != 0 {
                    seen.part = Part::Later;
                    seen.flow.protocol = following;
                    seen.transport = transport;
                    return true;
                }
                if u16::from_be(offset) & 1 != 0 {
                    part = Part::First;
                }
            } else {
                if length > EXTENSION_LENGTH_MAX {
                    return false;
                }
                transport += (u32::from(length) + 1) * 8;
            }
            next = following;
            passed += 1;
        }
        seen.part = part;
        seen.flow.protocol = next;
        seen.transport = transport;
        let at = start + transport as usize;
        if ports(seen, at, end).is_err() {
            return false;
        }
        if part == Part::Whole && seen.part == Part::Portless && next == Protocol::ICMP6 {
            let Some([kind, _]) = read::<[u8; 2]>(at, end, 0) else { return false };
            if is_error6(kind) {
                seen.part = Part::Error;
            }
        }
    }
    true
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

/// As [`about4`]; of that packet's extension headers only a fragment's is gone past, because a datagram that is too large for a
/// router is most likely sent in fragments.
///
/// # Safety
/// `start..end` is readable.
#[inline(always)]
pub unsafe fn about6(start: usize, end: usize, transport: u32) -> Option<About<Ip6>> {
    if transport > TRANSPORT_LAST {
        return None;
    }
    // SAFETY: as the caller says.
    unsafe {
        let ip = start + transport as usize + 8;
        if read::<u8>(ip, end, 0)? >> 4 != 6 {
            return None;
        }
        let mut protocol = read::<u8>(ip, end, 6)?;
        let mut length = IPV6_HEADER;
        if protocol == FRAGMENT {
            // Later ones have no ports.
            if u16::from_be(read::<u16>(ip, end, IPV6_HEADER + 2)?) & 0xfff8 != 0 {
                return None;
            }
            protocol = read::<u8>(ip, end, IPV6_HEADER)?;
            length += 8;
        }
        let mut flow = flow(read::<Ip6>(ip, end, 8)?, read::<Ip6>(ip, end, 24)?, protocol);
        let ports = ip + length;
        if protocol == Protocol::TCP || protocol == Protocol::UDP {
            flow.source_port = read::<u16>(ports, end, 0)?;
            flow.destination_port = read::<u16>(ports, end, 2)?;
        } else if protocol == Protocol::ICMP6 {
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
