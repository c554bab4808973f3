//! Names of registry hosts, without the C library: it would load code at run time.
//!
//! Order: an address as it is, `localhost`, /etc/hosts, then the name servers of /etc/resolv.conf.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::TokioResolver;

/// Every address of a host, in the order they are tried.
///
/// # Errors
/// When the name has none, or no name server answers.
pub async fn addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if name == "localhost" || name.ends_with(".localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.into_iter().map(|address| SocketAddr::new(address, port)).collect());
    }
    let failed = |error: &dyn std::fmt::Display| io::Error::other(format!("looking up {name}: {error}"));
    // Read again each time: /etc/resolv.conf changes under a long-lived daemon.
    let resolver =
        TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|e| failed(&e))?;
    let found = resolver.lookup_ip(name).await.map_err(|e| failed(&e))?;
    let addresses: Vec<SocketAddr> = found.iter().map(|address| SocketAddr::new(address, port)).collect();
    if addresses.is_empty() { Err(failed(&"the name has no address")) } else { Ok(addresses) }
}
