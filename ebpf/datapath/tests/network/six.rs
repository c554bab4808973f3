//! The same for IPv6, on a node that has both.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use harness::netns::TestHost;
use keelson_datapath::{Counter, Frontend, HostPort, Scope, Service, Traffic, Transport};

use super::node::{NODE_PORT, Node, PATIENCE, SILENCE, Server, connect, question};

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

/// Who answers from a port of the caller's choice, or any; its connection is reset afterwards, so that the port is free at once.
fn who(client: &TestHost, from: u16, to: (Ipv6Addr, u16)) -> Result<String, String> {
    let mut stream = client.inside(|| connect(from, to)).map_err(|error| error.to_string())?;
    let answer = question(&mut stream)?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
        .map_err(|error| error.to_string())?;
    Ok(answer.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn what_services_promise_holds_for_ipv6() {
    const TEST: &str = "what_services_promise_holds_for_ipv6";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut node = Node::make(guard.tag(), None);
    node.add_ipv6();
    let (b, near) = (six("fd00:10:244::12"), six("2001:db8::1"));
    let servers: Vec<Server> = ["p1", "p2", "p3", "p4"]
        .into_iter()
        .zip(8001..)
        .map(|(name, port)| Server::start_at(&node.b.host, name, (Ipv6Addr::UNSPECIFIED, port).into()))
        .collect();
    let backends: Vec<SocketAddr> = (8001..8005).map(|port| (b, port).into()).collect();
    let there = |port| Frontend {
        address: Ipv6Addr::UNSPECIFIED.into(),
        port,
        transport: Transport::Tcp,
        scope: Scope::External,
    };
    let answered = |port: u16, from: &mut dyn Iterator<Item = u16>| -> Vec<String> {
        from.map(|from| who(&node.outside, from, (near, port)).expect("an answer")).collect()
    };
    let all = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len();

    node.serve(1, &[there(NODE_PORT)], &backends, None);
    node.serve(2, &[there(NODE_PORT + 1)], &backends, Some(600));
    assert_eq!(all(&answered(NODE_PORT, &mut std::iter::repeat_n(0, 80))), 4, "by chance");
    assert_eq!(all(&answered(NODE_PORT + 1, &mut std::iter::repeat_n(0, 12))), 1, "a client stays with one");

    // By table: two sets of the same backends lead a flow to the same one.
    let mut sets = node.datapath.backends().unwrap();
    let traffic = Traffic { consistent: true, node_port: true, ..Traffic::default() };
    let chosen = [(); 2].map(|()| {
        let set = Some(sets.install_with_table(&backends).unwrap());
        let service = Service { number: 3, set, affinity_seconds: None, traffic };
        node.datapath.services().unwrap().put(&there(NODE_PORT + 2), &service).unwrap();
        answered(NODE_PORT + 2, &mut (5000..5030))
    });
    assert_eq!(chosen[0], chosen[1]);
    assert_eq!(all(&chosen[0]), 4);

    let set = Some(sets.install(&backends).unwrap());
    let traffic = Traffic { sources: true, node_port: true, ..Traffic::default() };
    let service = Service { number: 4, set, affinity_seconds: None, traffic };
    node.datapath.services().unwrap().put(&there(NODE_PORT + 3), &service).unwrap();
    let admitted = |patience| {
        let to = SocketAddr::from((near, NODE_PORT + 3));
        node.outside.inside(|| TcpStream::connect_timeout(&to, patience)).is_ok()
    };
    let mut sources = node.datapath.sources().unwrap();
    sources.put(4, "2001:db8:7::/48".parse().unwrap()).unwrap();
    assert!(!admitted(SILENCE), "of another range");
    assert!(node.datapath.counters().unwrap().get(Counter::SourceRange) > 0);
    sources.put(4, "2001:db8::/64".parse().unwrap()).unwrap();
    assert!(admitted(PATIENCE), "of a range");

    let mut ports = node.datapath.host_ports().unwrap();
    let one = |address: Ipv6Addr, port| HostPort { address: address.into(), port, transport: Transport::Tcp };
    ports.put(&one(Ipv6Addr::UNSPECIFIED, 9001), backends[0]).unwrap();
    ports.put(&one(near, 9002), backends[1]).unwrap();
    ports.put(&one(six("2001:db8:7::7"), 9002), backends[2]).unwrap();
    for (client, host) in [("outside", &node.outside), ("a pod", &node.a.host)] {
        assert_eq!(who(host, 0, (near, 9001)).as_deref(), Ok("p1"), "{client}");
        assert_eq!(who(host, 0, (near, 9002)).as_deref(), Ok("p2"), "{client}: of this address");
        assert!(who(host, 0, (near, 9003)).is_err(), "{client}");
    }
    drop((servers, sets, sources, ports));
    node.finish();
    guard.finish();
}
