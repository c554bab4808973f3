//! Where a probe goes: the pod's address unless it names another host.
//!
//! Names are not resolved; a host that is one is an error that says so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::spec::Port;

/// A host as it is spoken of, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) address: SocketAddr,
}

pub(super) fn resolve(host: &str, port: &Port, addresses: &[IpAddr]) -> Result<Target, String> {
    let port = match port {
        Port::Number(0) => return Err("invalid port number: 0".into()),
        Port::Number(port) => *port,
        Port::Unknown(name) => return Err(format!("couldn't find port: {name} in container")),
    };
    let ip = match host {
        "" => *addresses.first().ok_or("the pod has no address yet")?,
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| {
            format!("host {host:?} is a name; probes go to IP addresses, by default to that of the pod")
        })?,
    };
    let host = if host.is_empty() { ip.to_string() } else { host.to_owned() };
    Ok(Target { host, address: SocketAddr::new(ip, port) })
}

/// A failed dial as a Go program would tell it.
pub(super) fn dial_error(address: SocketAddr, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: connect: {why}")
}
