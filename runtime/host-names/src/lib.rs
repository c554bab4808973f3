//! Addresses of a host's name, without the C library: it would load code at run time.
//!
//! Order: an address as it is, `localhost`, /etc/hosts, then the name servers of /etc/resolv.conf, as the host has them.
//! How long it may take is the caller's to bound. Not here: connections, what a failure means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;

const HOSTS: &str = "/etc/hosts";
/// Addresses tried at most.
const MOST: usize = 8;

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such name, or it has no address.
    #[error("no such host")]
    NoSuchHost,
    /// Nobody could say.
    #[error(transparent)]
    Failed(#[from] NetError),
}

/// The addresses of a host, in the order they are tried.
///
/// # Errors
/// When the name has none, or no name server answers.
pub async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.into_iter().map(|address| SocketAddr::new(address, port)).collect());
    }
    // Not left to the resolver: it asks name servers for the family that the file does not have.
    let known = std::fs::read_to_string(HOSTS).map(|text| in_hosts(&text, host)).unwrap_or_default();
    if !known.is_empty() {
        return Ok(known.into_iter().take(MOST).map(|address| SocketAddr::new(address, port)).collect());
    }
    // Read again each time: /etc/resolv.conf changes under a long-lived server.
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build())?;
    by(&resolver, host, port).await
}

/// The addresses that a hosts file has for a name, in its order.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    text.lines().filter_map(line).collect()
}

async fn by(resolver: &TokioResolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let found = resolver.lookup_ip(host).await.map_err(|error| match error.is_no_records_found() {
        true => LookupError::NoSuchHost,
        false => LookupError::Failed(error),
    })?;
    let addresses: Vec<SocketAddr> =
        found.iter().take(MOST).map(|address| SocketAddr::new(address, port)).collect();
    if addresses.is_empty() { Err(LookupError::NoSuchHost) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::net::UdpSocket;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// A name server that knows one name.
    async fn name_server() -> (u16, AbortOnDropHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut bytes = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
                let question = Message::from_vec(&bytes[..length]).unwrap();
                let query = question.queries[0].clone();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                if query.name().to_ascii() != "hooks.example.com." {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                } else if query.query_type() == RecordType::A {
                    let data = RData::A(A::new(192, 0, 2, 7));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
                answer.add_query(query);
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        (port, AbortOnDropHandle::new(task))
    }

    #[tokio::test]
    async fn names_are_looked_up_and_unknown_ones_are_told() {
        let (port, _server) = name_server().await;
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = Duration::from_secs(5);
        let resolver = builder.build().unwrap();
        let found = by(&resolver, "hooks.example.com.", 443).await;
        assert_eq!(found.unwrap(), ["192.0.2.7:443".parse().unwrap()]);
        let unknown = by(&resolver, "gone.example.com.", 443).await;
        assert!(matches!(unknown, Err(LookupError::NoSuchHost)), "{unknown:?}");
    }

    #[test]
    fn a_file_goes_before_name_servers() {
        let text = "# local\n127.0.0.1\tlocalhost\n192.0.2.1 node-a.example.com Node-A # not node-b\nx node-a\n2001:db8::1 node-a\n";
        let check = |host: &str, expect: &[&str]| {
            let found: Vec<String> = in_hosts(text, host).iter().map(ToString::to_string).collect();
            assert_eq!(found, expect, "{host}");
        };
        check("node-a", &["192.0.2.1", "2001:db8::1"]);
        check("NODE-A.example.com.", &["192.0.2.1"]);
        check("node-b", &[]);
    }

    #[tokio::test]
    async fn addresses_and_loopback_ask_nobody() {
        assert_eq!(addresses("::1", 1).await.unwrap(), ["[::1]:1".parse().unwrap()]);
        let local = addresses("hook.localhost", 2).await.unwrap();
        assert_eq!(local[0], "127.0.0.1:2".parse().unwrap());
    }
}
