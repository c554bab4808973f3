//! Machines that have no address of IPv4: the cluster's parts, the tunnel and the routes between nodes go by IPv6, and pods have both
//! families all the same.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Pair, service, tunnel};
use crate::machines::{Machine, ROUTER, Segment, Switch, can_run};

const RANGES: [&str; 2] =
    ["--cluster-cidr=fd00:10:244::/56,10.244.0.0/16", "--service-cidr=fd00:10:96::/112,10.96.0.0/16"];

/// A port of a machine outside.
const OUTSIDE: u16 = 8_099;
const ANSWER: Duration = Duration::from_secs(30);

#[test]
fn nodes_of_ipv6_alone() {
    const TEST: &str = "nodes_of_ipv6_alone";
    if !can_run(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let switch = Switch::new(&guard);
    let of_ipv6 = |letter, segment, last| Machine::of_ipv6(&guard, &switch, letter, segment, last);
    let [a, b, third] =
        [of_ipv6('a', Segment::Near, 1), of_ipv6('b', Segment::Far, 2), of_ipv6('c', Segment::Near, 3)];
    let pair = Pair::of(switch, a, b, &RANGES, &[]);
    pair.populate();
    let third = tunnel::joined(&pair, third, &[]);
    ways(&pair, &third);
    everybody_reaches_everybody(&pair, &third);
    tunnel::much_from_a_node(&pair);
    tunnel::datagrams_from_outside(&pair);
    for pod in ["client-b", "web-c"] {
        let mtu = pair.a.must(&["exec", pod, "--", "cat", "/sys/class/net/eth0/mtu"]);
        assert_eq!(mtu.trim(), "1430", "{pod}");
    }
    pair.a.must(&["logs", "web-b"]);
    drop(third);
    drop(pair);
    guard.finish();
}

/// IPv6 by a route where nodes are near; IPv4, for which they have no next hop, through the tunnel as what is far.
fn ways(pair: &Pair, third: &Machine) {
    let range = |node: &str, which: usize| {
        pair.a.must(&["get", "node", node, "-o", &format!("jsonpath={{.spec.podCIDRs[{which}]}}")])
    };
    let links = pair.a.host.ip(&["-d", "-o", "link"]);
    assert!(links.contains(&format!("vxlan id 75 local {}", pair.a.address6())), "{links}");
    for (machine, other, near) in [(&pair.a, third, true), (third, &pair.a, true), (&pair.a, &pair.b, false)]
    {
        let (six, four) = (range(&other.name, 0), range(&other.name, 1));
        machine.until(&format!("{} has its ways to {}", machine.name, other.name), || {
            let routes = machine.host.ip(&["-6", "route"]) + &machine.host.ip(&["route"]);
            let by = |range: &str| {
                routes.lines().find(|line| line.starts_with(range)).unwrap_or_default().to_owned()
            };
            let direct = by(&six).contains(&format!("via {} dev uplink", other.address6()));
            let tunnelled = |range: &str| by(range).contains("dev ") && !by(range).contains("dev uplink");
            tunnelled(&four) && if near { direct } else { tunnelled(&six) }
        });
    }
    let told = pair.a.must(&["get", "node", "node-b", "-o", "jsonpath={.status.addresses[*].address}"]);
    assert_eq!(told, format!("{} node-b", pair.b.address6()));
}

fn everybody_reaches_everybody(pair: &Pair, third: &Machine) {
    let names = ["a", "b", "c"];
    for to in names {
        let four = service(&format!("four-{to}"), &format!("web-{to}"), "ClusterIP");
        pair.a.apply(&four.replace("spec: {", "spec: {ipFamilies: [IPv4], "));
    }
    let bracketed =
        |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    for from in names {
        for to in names {
            let (client, server) = (format!("client-{from}"), format!("web-{to}"));
            for address in pair.addresses(&server) {
                let url = format!("http://{}:8080/", bracketed(&address));
                assert_eq!(pair.fetch(&client, &url), server, "{client} to {url}");
            }
            let (six, four) = (
                pair.of_service(&server, "{.spec.clusterIP}"),
                pair.of_service(&format!("four-{to}"), "{.spec.clusterIP}"),
            );
            assert!(six.contains(':') && four.contains('.'), "{six} {four}");
            for url in [format!("http://{server}/"), format!("http://[{six}]/"), format!("http://{four}/")] {
                assert_eq!(pair.fetch(&client, &url), server, "{client} to {url}");
            }
        }
    }
    let get = |host: &harness::netns::TestHost, url: &str| {
        host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", url]).trim().to_owned()
    };
    for (to, through) in [("web-b", &pair.a), ("web-a", &pair.b), ("web-c", &pair.a), ("web-a", third)] {
        if to != "web-c" {
            let port = pair.of_service(to, "{.spec.ports[0].nodePort}");
            assert_eq!(get(&pair.switch.host, &format!("http://[{}]:{port}/", through.address())), to);
        }
        for address in pair.addresses(to) {
            let url = format!("http://{}:8080/", bracketed(&address));
            assert_eq!(get(&through.host, &url), to, "{} to {url}", through.name);
        }
    }
    // Out of the cluster, where nobody knows pods: under the node's address.
    let listener = pair.switch.host.inside(|| TcpListener::bind(("::", OUTSIDE))).expect("a listener");
    let to = SocketAddr::new(pair.b.segment.address6(ROUTER).parse().expect("an address"), OUTSIDE);
    let _stream = pair.within("client-b", || TcpStream::connect_timeout(&to, ANSWER)).expect("a connection");
    let (_, peer) = listener.accept().expect("a connection");
    assert_eq!(peer.ip(), pair.b.address());
}
