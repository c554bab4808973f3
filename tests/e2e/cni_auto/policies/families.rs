//! Policies on IPv6, and on SCTP by packets of our own: the kernel here may lack the protocol.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use harness::netns::TestHost;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use serde_json::{Value, json};

use super::super::Node;
use super::{PATIENCE, SILENCE, answers};

const SCTP: u32 = 132;
const RANGES: [(&str, &str); 2] = [
    ("--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"),
    ("--service-cidr", "10.96.0.0/16,fd00:10:96::/112"),
];

/// Both addresses that the plugin gave a pod.
fn addresses(pod: &super::Pod) -> [IpAddr; 2] {
    let IpAddr::V4(four) = pod.address else { panic!("{}: the first address is IPv4", pod.name) };
    let shown = address6(&pod.host);
    assert!(shown.ends_with(&format!("::{:x}", four.octets()[3])), "{shown}");
    [pod.address, shown.parse().expect("an address")]
}

fn address6(host: &TestHost) -> String {
    let shown = host.ip(&["-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"]);
    let word = shown.split_whitespace().skip_while(|word| *word != "inet6").nth(1).expect("an IPv6 address");
    word.split('/').next().expect("an address").to_owned()
}

/// Whether an INIT chunk from one pod arrives at another.
fn arrives(from: &TestHost, to: &TestHost, address: IpAddr, port: u16) -> bool {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let protocol = Protocol::from_raw(std::num::NonZeroU32::new(SCTP).expect("not zero"));
    let open = || {
        rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))
            .expect("a raw socket")
    };
    let (sender, receiver) = (from.inside(open), to.inside(open));
    sockopt::set_socket_timeout(&receiver, sockopt::Timeout::Recv, Some(SILENCE)).expect("a timeout");
    let mut packet = [40_000_u16.to_be_bytes(), port.to_be_bytes()].concat();
    // No verification tag; the checksum is the receiver's business. INIT, 20 bytes.
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20]);
    packet.extend([0; 16]);
    let peer = SocketAddr::new(address, 0);
    rustix::net::sendto(&sender, &packet, SendFlags::empty(), &peer).expect("sending");
    let mut buffer = [0; 128];
    let begun = std::time::Instant::now();
    while begun.elapsed() < SILENCE {
        let Ok((_, length, _)) = rustix::net::recvfrom(&receiver, &mut buffer[..], RecvFlags::empty()) else {
            return false;
        };
        if buffer[..length].windows(packet.len()).any(|part| part == packet) {
            return true;
        }
    }
    false
}

#[test]
fn policies_hold_for_ipv6_and_for_sctp() {
    let test = "cni_auto::policies_hold_for_ipv6_and_for_sctp";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::new(&guard);
    node.more = RANGES.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect();
    node.give_ranges(&["10.244.0.0/24", "fd00:10:244:1::/64"]);
    node.start_agent();
    node.until("the CNI configuration", || node.conflist().exists());
    node.namespace("default", &Value::Null);
    let web = node.pod("default", "web", &json!({"app": "web"}));
    let near = node.pod("default", "near", &json!({"app": "near"}));
    let far = node.pod("default", "far", &json!({"app": "far"}));
    let (at_web, of_near) = (addresses(&web), addresses(&near));
    let check = |what: &str, rule: Value, wanted: [bool; 3]| {
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]});
        node.policy("p", &spec);
        let [near80, near81, far80] = wanted;
        for address in at_web {
            let is_v4 = address.is_ipv4();
            node.settles(&format!("{what} (IPv4 {is_v4})"), &near.host, (address, 80), near80);
            node.settles(&format!("{what} (IPv4 {is_v4})"), &near.host, (address, 81), near81);
            node.settles(&format!("{what} (IPv4 {is_v4})"), &far.host, (address, 80), far80);
            assert!(answers(&node.host, (address, 80)), "{what}: its node always may");
        }
    };
    check("pods", json!({"from": [{"podSelector": {"matchLabels": {"app": "near"}}}]}), [true, true, false]);
    check("a port", json!({"ports": [{"port": 81}]}), [false, true, false]);
    let blocks = json!([{"ipBlock": {"cidr": "fd00:10:244::/56", "except": [format!("{}/128", of_near[1])]}},
        {"ipBlock": {"cidr": "10.244.0.0/16", "except": [format!("{}/32", of_near[0])]}}]);
    check("blocks of both families", json!({"from": blocks}), [false, false, true]);

    // A block of one family says nothing of the other.
    node.policy(
        "p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]}),
    );
    node.settles("IPv6 only", &near.host, (at_web[1], 80), true);
    node.settles("IPv6 only", &near.host, (at_web[0], 80), false);

    let sctp = |port: u16| {
        json!({"podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "near"}}}], "ports": [{"protocol": "SCTP", "port": port}]}]})
    };
    node.policy("p", &sctp(3_868));
    for address in at_web {
        // Between the policy before and this one there may be none, for a moment.
        let begun = std::time::Instant::now();
        let told = || {
            [(&near.host, 3_868), (&near.host, 3_869), (&far.host, 3_868)]
                .map(|(from, port)| arrives(from, &web.host, address, port))
        };
        while told() != [true, false, false] {
            assert!(begun.elapsed() < PATIENCE, "SCTP to {address}: {:?}\n{}", told(), node.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        node.settles("TCP was not spoken of", &near.host, (address, 80), false);
    }
    node.no_policy("p");
    for pod in [web, near, far] {
        node.del(&pod.name, Some(&pod.host));
    }
    node.end(guard);
}
