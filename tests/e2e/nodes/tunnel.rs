//! What the tunnel carries beside small requests: both families, much at once, datagrams as large as its packets, streams that
//! stand; and a third node, so that routes and tunnel meet on one machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::within::{Server, ask, connected};
use super::{Pair, pod, service, web};
use crate::machines::{Machine, Segment};

const ANSWER: Duration = Duration::from_secs(30);
const LARGE: usize = 10 << 20;
const DATAGRAMS: u16 = 5_301;

/// A third machine, on the server's network; its pods are there when this returns.
pub(super) fn join(guard: &harness::host::Guard, pair: &Pair) -> Machine {
    let third = Machine::new(guard, &pair.switch, 'c', Segment::Near, 3);
    let own = format!("--node-ip={},{}", third.address(), third.address6());
    joined(pair, third, &[&own])
}

/// The same of any machine.
pub(super) fn joined(pair: &Pair, mut third: Machine, more: &[&str]) -> Machine {
    third.start_agent(&pair.a, &pair.a.token(), more);
    pair.a.until("node-c registers", || pair.a.kubectl(&["get", "node", "node-c"]).status.success());
    pair.a.until_ready("node-c");
    let client = pod("client-c", "node-c", "exec sleep 100000");
    pair.a.apply(&(web("web-c", "node-c") + &client + &service("web-c", "web-c", "ClusterIP")));
    pair.a.until_pods(&["web-c", "client-c"]);
    third
}

/// Each of three nodes reaches each, and by the way that there is: a route on one network, the tunnel between two.
pub(super) fn routes_and_tunnel_meet(pair: &Pair, third: &Machine) {
    let names = ["a", "b", "c"];
    let machines = [&pair.a, &pair.b, third];
    let ranges = names.map(|name| {
        let node = format!("node-{name}");
        pair.a.must(&["get", "node", &node, "-o", "jsonpath={.spec.podCIDR}"])
    });
    for (from, machine) in machines.iter().enumerate() {
        for (to, other) in machines.iter().enumerate().filter(|(to, _)| *to != from) {
            let direct = machine.segment == other.segment;
            let via = format!("via {} dev uplink", other.address());
            machine.until(&format!("{} has its way to {}", machine.name, other.name), || {
                let routes = machine.host.ip(&["route"]);
                let route = routes.lines().find(|line| line.starts_with(&ranges[to]));
                let fits =
                    |route: &str| if direct { route.contains(&via) } else { !route.contains("dev uplink") };
                route.is_some_and(fits)
            });
        }
    }
    for from in names {
        for to in names {
            let (client, server) = (format!("client-{from}"), format!("web-{to}"));
            let [four, six] = pair.both(&server);
            for url in [format!("http://{four}:8080/"), format!("http://[{six}]:8080/")] {
                assert_eq!(pair.fetch(&client, &url), server, "{client} to {url}");
            }
            assert_eq!(pair.fetch(&client, &format!("http://{server}/")), server, "{client} by name");
        }
    }
}

/// ClusterIP of IPv6, and a node's own process to a pod elsewhere by IPv6.
pub(super) fn carries_both_families(pair: &Pair) {
    for (client, to) in [("client-a", "b"), ("client-b", "a")] {
        let (name, server) = (format!("six-{to}"), format!("web-{to}"));
        let six = service(&name, &server, "ClusterIP").replace("spec: {", "spec: {ipFamilies: [IPv6], ");
        pair.a.apply(&six);
        let address = pair.of_service(&name, "{.spec.clusterIP}");
        assert!(address.contains(':'), "{address}");
        assert_eq!(pair.fetch(client, &format!("http://[{address}]/")), server, "{client} to {address}");
    }
    for (machine, to) in [(&pair.a, "web-b"), (&pair.b, "web-a")] {
        let url = format!("http://[{}]:8080/", pair.both(to)[1]);
        let said = machine.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
        assert_eq!(said.trim(), to, "{} to {url}", machine.name);
    }
}

/// Much from a node to a pod, in both families, and datagrams from outside as large as the tunnel takes, and larger.
pub(super) fn carries_what_is_large(pair: &Pair) {
    much_from_a_node(pair);
    datagrams_from_outside(pair);
}

pub(super) fn much_from_a_node(pair: &Pair) {
    for (number, address) in pair.both("web-b").into_iter().enumerate() {
        let port = 8_090 + u16::try_from(number).expect("two");
        let listener = pair.within("web-b", || TcpListener::bind(("::", port))).expect("a listener");
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_read_timeout(Some(ANSWER)).expect("a limit");
            let count = std::io::copy(&mut stream, &mut std::io::sink()).expect("all of it");
            stream.write_all(&count.to_be_bytes()).expect("an answer");
        });
        let to = SocketAddr::new(address.parse().expect("an address"), port);
        let mut stream =
            pair.a.host.inside(|| TcpStream::connect_timeout(&to, ANSWER)).expect("a connection");
        stream.set_write_timeout(Some(ANSWER)).expect("a limit");
        stream.set_read_timeout(Some(ANSWER)).expect("a limit");
        stream.write_all(&vec![7; LARGE]).expect("room");
        stream.shutdown(std::net::Shutdown::Write).expect("an end");
        let mut count = [0; 8];
        stream.read_exact(&mut count).expect("the count");
        assert_eq!(u64::from_be_bytes(count), LARGE as u64, "node-a to {to}");
        receiver.join().expect("it ends");
    }
}

/// Up to what the tunnel carries in one packet; of what is larger the sender is told how much that is.
pub(super) fn datagrams_from_outside(pair: &Pair) {
    let ipv4 = pair.a.address().is_ipv4();
    let (family, fits, mtu) = if ipv4 { ("IPv4", 1_422, "mtu 1450") } else { ("IPv6", 1_382, "mtu 1430") };
    let server = Server::of_datagrams(pair, "web-b", DATAGRAMS);
    pair.a.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: large}}\nspec: {{type: NodePort, selector: {{app: web-b}}, \
         ports: [{{port: 53, targetPort: {DATAGRAMS}, protocol: UDP}}]}}\n"
    ));
    let number: u16 = pair.of_service("large", "{.spec.ports[0].nodePort}").parse().expect("a port");
    let backend = SocketAddr::new(pair.pod_ip("web-b").parse().expect("an address"), DATAGRAMS).to_string();
    pair.leads(&pair.a, &format!("UDP node port {number} ({family})"), "external", &[&backend]);
    let node = SocketAddr::new(pair.a.address(), number);
    let socket = pair.switch.host.inside(|| connected(0, node, ANSWER));
    let answered = |asked: u32, length: usize| {
        let words = ask(&socket, asked, length).unwrap_or_else(|| panic!("{length} bytes get no answer"));
        assert_eq!(
            (words[0].as_str(), words[2].as_str()),
            ("web-b", length.to_string().as_str()),
            "{words:?}"
        );
    };
    for (asked, length) in (1..).zip([100, 1_300, fits]) {
        answered(asked, length);
    }
    let way = || pair.switch.host.ip(&["route", "get", &pair.a.address().to_string()]);
    assert!(!way().contains("mtu"), "{}", way());
    // The first one is lost, and its sender told; after that it cuts them itself.
    socket.send(&vec![b'.'; fits + 1]).expect("sending");
    let told = socket.recv(&mut [0; 16]).expect_err("it is told");
    assert_eq!(told.raw_os_error(), Some(rustix::io::Errno::MSGSIZE.raw_os_error()), "{told}");
    assert!(way().contains(mtu), "{}", way());
    for (asked, length) in (10..).zip([fits + 1, fits + 40]) {
        answered(asked, length);
    }
    drop(server);
}

impl Pair {
    /// A pod's addresses, IPv4 first.
    fn both(&self, pod: &str) -> [String; 2] {
        self.addresses(pod).try_into().expect("an address of each family")
    }
}
