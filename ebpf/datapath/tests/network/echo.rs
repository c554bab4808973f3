//! ICMP from inside a namespace, without a `ping` on the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use harness::netns::TestHost;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use super::node::PATIENCE;

const IDENTIFIER: u16 = 0x4b4c;

/// Whether an echo comes back under the identifier with which it was sent.
pub fn ping(host: &TestHost, to: impl Into<IpAddr>) -> bool {
    match to.into() {
        IpAddr::V4(to) => ping4(host, to),
        IpAddr::V6(to) => ping6(host, to),
    }
}

/// The kernel computes checksums, checks them, and keeps the IP header.
fn ping6(host: &TestHost, to: Ipv6Addr) -> bool {
    host.inside(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(ipproto::ICMPV6))
                .expect("a raw socket");
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a timeout");
        let mut request = vec![128, 0, 0, 0];
        request.extend(IDENTIFIER.to_be_bytes());
        request.extend([0, 1]);
        request.extend([0x55; 48]);
        let peer = SocketAddr::new(to.into(), 0);
        rustix::net::sendto(&socket, &request, SendFlags::empty(), &peer).expect("sending an echo");
        let mut buffer = [0; 256];
        // Other ICMP of this namespace comes here too.
        for _ in 0..16 {
            let Ok((_, length, from)) = rustix::net::recvfrom(&socket, &mut buffer[..], RecvFlags::empty())
            else {
                return false;
            };
            let from = from.and_then(|from| SocketAddr::try_from(from).ok());
            let ours = buffer[0] == 129 && buffer[4..length] == request[4..];
            if ours && from.is_some_and(|from| from.ip() == IpAddr::V6(to)) {
                return true;
            }
        }
        false
    })
}

fn ping4(host: &TestHost, to: Ipv4Addr) -> bool {
    host.inside(|| {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP))
                .expect("a raw socket");
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a timeout");
        let mut request = vec![8, 0, 0, 0];
        request.extend(IDENTIFIER.to_be_bytes());
        request.extend([0, 1]);
        request.extend([0x55; 48]);
        let sum = checksum(&request).to_be_bytes();
        request[2..4].copy_from_slice(&sum);
        let peer = SocketAddr::new(IpAddr::V4(to), 0);
        rustix::net::sendto(&socket, &request, SendFlags::empty(), &peer).expect("sending an echo");
        let mut buffer = [0; 256];
        // Other ICMP of this namespace comes here too.
        for _ in 0..8 {
            let Ok((_, length, _)) = rustix::net::recvfrom(&socket, &mut buffer[..], RecvFlags::empty())
            else {
                return false;
            };
            let packet = &buffer[..length];
            let header = usize::from(packet[0] & 15) * 4;
            let icmp = &packet[header..];
            let ours = icmp[4..6] == IDENTIFIER.to_be_bytes();
            if icmp[0] == 0 && ours && packet[12..16] == to.octets() && checksum(icmp) == 0 {
                return true;
            }
        }
        false
    })
}

/// The one's complement of the one's complement sum (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
