//! The same for IPv6, on a node that has both.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use harness::netns::TestHost;
use keelson_datapath::{Frontend, Scope, Transport};

use super::node::{NODE_PORT, Node, PATIENCE};

pub fn six(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// Who a server sees when `client` connects to `to`; and that bytes come and go.
pub fn seen(client: &TestHost, server: &TestHost, port: u16, to: SocketAddr) -> Result<SocketAddr, String> {
    let failed = |error: std::io::Error| error.to_string();
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let (listener, socket) = server
        .inside(|| (TcpListener::bind(any).expect("listening"), UdpSocket::bind(any).expect("binding")));
    rustix::net::sockopt::set_socket_timeout(&listener, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))
        .map_err(|errno| errno.to_string())?;
    let stream = client.inside(|| TcpStream::connect_timeout(&to, PATIENCE)).map_err(failed)?;
    let (_, peer) = listener.accept().map_err(failed)?;
    drop(stream);
    let asking = client.inside(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))).map_err(failed)?;
    for socket in [&asking, &socket] {
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    }
    asking.send_to(b"who", to).map_err(failed)?;
    let mut buffer = [0; 16];
    let (_, from) = socket.recv_from(&mut buffer).map_err(|error| format!("udp: {error}"))?;
    assert_eq!(from.ip(), peer.ip(), "the same for UDP");
    socket.send_to(b"me", from).map_err(failed)?;
    let (_, answered) = asking.recv_from(&mut buffer).map_err(|error| format!("udp answer: {error}"))?;
    assert_eq!(answered, to, "whose answer it seems to be");
    Ok(peer)
}

#[test]
fn ipv6_goes_the_same_ways() {
    if !harness::root_or_skip("ipv6_goes_the_same_ways") {
        return;
    }
    let guard = harness::host::exclusive("ipv6_goes_the_same_ways");
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let (a, b) = (six("fd00:10:244::11"), six("fd00:10:244::12"));
    let (vip, near, far) = (six("fd00:10:96::10"), six("2001:db8::1"), six("2001:db8::2"));
    let mut frontends = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let there =
            |address: Ipv6Addr, port, scope| Frontend { address: address.into(), port, transport, scope };
        frontends.push(there(vip, 80, Scope::Cluster));
        frontends.push(there(Ipv6Addr::UNSPECIFIED, NODE_PORT, Scope::Cluster));
        frontends.push(there(Ipv6Addr::UNSPECIFIED, NODE_PORT, Scope::External));
    }
    node.serve(1, &frontends, &[SocketAddr::new(b.into(), 8080)], None);
    let own = [Transport::Tcp, Transport::Udp].map(|transport| Frontend {
        address: vip.into(),
        port: 83,
        transport,
        scope: Scope::Cluster,
    });
    node.serve(2, &own, &[SocketAddr::new(a.into(), 8080)], None);
    let check =
        |what: &str, client: &TestHost, server: &TestHost, port, to: (Ipv6Addr, u16), expect: Ipv6Addr| {
            let found = seen(client, server, port, SocketAddr::new(to.0.into(), to.1));
            let counters: Vec<_> =
                node.datapath.counters().unwrap().named().filter(|(_, value)| *value > 0).collect();
            let peer = found.unwrap_or_else(|error| panic!("{what}: {error}; {counters:?}"));
            assert_eq!(peer.ip(), IpAddr::V6(expect), "{what}");
        };
    let (pod_a, pod_b, host, outside) = (&node.a.host, &node.b.host, &node.host, &node.outside);
    check("pod to pod", pod_a, pod_b, 8080, (b, 8080), a);
    check("pod to service", pod_a, pod_b, 8080, (vip, 80), a);
    check("pod to itself by service", pod_a, pod_a, 8080, (vip, 83), near);
    check("pod to the node", pod_a, host, 8081, (near, 8081), a);
    check("pod to outside", pod_a, outside, 8082, (far, 8082), near);
    check("node to pod", host, pod_b, 8080, (b, 8080), near);
    check("node to service", host, pod_b, 8080, (vip, 80), near);
    check("outside to node port", outside, pod_b, 8080, (near, NODE_PORT), far);
    assert_eq!(node.datapath.counters().unwrap().dropped(), 0, "{:?}", node.datapath.counters());
    node.finish();
    guard.finish();
}
