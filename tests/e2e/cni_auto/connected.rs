//! Who reaches whom.

use harness::netns::TestHost;
use serde_json::json;

use super::{NODE, Node, PATIENCE, datagram, datagram_within, megabyte};

/// No helper is executed, and the kernel is asked in batches: one for the pair, one for each of its ends, and what is
/// looked up before.
#[test]
fn the_plugin_runs_nothing_and_asks_little() {
    /// What an ADD sends over netlink; it was 8 when this was written.
    const MOST: usize = 10;
    let test = "cni_auto::the_plugin_runs_nothing_and_asks_little";
    if !harness::root_or_skip(test) {
        return;
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return harness::skip(test, "strace is not installed");
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let pod = TestHost::create(guard.tag(), "a");
    let told = node.folder.path().join("calls");
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-yy",
        "-o",
        told.to_str().expect("UTF-8"),
        "-e",
        "trace=execve,sendto,sendmsg",
    ];
    node.succeeded(node.call_through(&strace, "ADD", "a", Some(&pod), &serde_json::Value::Null));
    let told = std::fs::read_to_string(&told).expect("what strace saw");
    assert_eq!(told.matches("execve(").count(), 1, "{told}");
    let sent = told.lines().filter(|line| line.contains("<NETLINK:")).count();
    println!("{sent} messages over netlink");
    assert!((3..=MOST).contains(&sent), "{sent} messages:\n{told}");
    node.del("a", Some(&pod));
    drop(pod);
    node.end(guard);
}

#[test]
fn pods_node_and_outside_are_connected() {
    let test = "cni_auto::pods_node_and_outside_are_connected";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let rules = |node: &Node| node.host.ip(&["rule"]);
    let mut node = Node::new(&guard);
    let before = rules(&node);
    node.start_agent();
    node.until("the socket", || node.folder.path().join("run/net.sock").exists());
    node.until("the datapath", || node.log().contains("the datapath is loaded"));
    assert!(!node.conflist().exists(), "no range, no pods");
    node.give_range();
    node.until("the CNI configuration", || node.conflist().exists());
    let gateway = format!("kls0-{}", guard.tag());
    let routes = node.host.ip(&["route", "show", "dev", &gateway]);
    for range in ["10.244.0.0/16", "10.96.0.0/16"] {
        assert!(
            routes.contains(&format!("{range} via 169.254.1.1")) && routes.contains("src 10.244.0.1"),
            "{routes}"
        );
    }
    node.until("the condition", || {
        let object = node.admin(|admin| admin.get(NODE).expect(200));
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "NetworkUnavailable"
                && condition["status"] == "False"
                && condition["reason"] == "RouteCreated"
        })
    });
    node.succeeded(node.call("STATUS", "", None, &json!({})));

    let pods = [TestHost::create(guard.tag(), "a"), TestHost::create(guard.tag(), "b")];
    let (a, b) = (node.add("a", &pods[0]), node.add("b", &pods[1]));
    assert_eq!((a.as_str(), b.as_str()), ("10.244.0.2", "10.244.0.3"), "the first address is the node's");
    assert_eq!(node.records().len(), 2);
    let known = agent::pods(&node.options()).unwrap();
    assert!(known.len() == 2 && known.iter().all(|pod| pod.ready), "{known:?}");
    assert_eq!(node.pins().len(), 4, "two programs for each pod");
    assert_eq!(megabyte(&pods[0], &pods[1], &b), a, "pods see each other's own addresses");
    assert_eq!(datagram(&pods[1], &pods[0], &a), Some(b.clone()));
    megabyte(&node.host, &pods[0], &a);
    for host in ["192.0.2.1", "10.244.0.1"] {
        assert_eq!(megabyte(&pods[0], &node.host, host), a);
        assert_eq!(datagram(&pods[0], &node.host, host), Some(a.clone()));
    }
    assert_eq!(megabyte(&pods[0], &node.outside, "192.0.2.2"), "192.0.2.1", "hidden behind the node");
    assert_eq!(datagram(&pods[0], &node.outside, "192.0.2.2").as_deref(), Some("192.0.2.1"));
    megabyte(&node.host, &node.outside, "192.0.2.2");
    megabyte(&node.outside, &node.host, "192.0.2.1");
    assert_eq!(rules(&node), before, "no rule of any kind");

    let previous = json!({"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": format!("{a}/32")}]}});
    node.succeeded(node.call("CHECK", "a", Some(&pods[0]), &previous));
    node.del("a", Some(&pods[0]));
    node.del("a", Some(&pods[0]));
    node.call("CHECK", "a", Some(&pods[0]), &previous).failed_with(3);
    assert_eq!(megabyte(&pods[1], &node.outside, "192.0.2.2"), "192.0.2.1", "the other pod stays connected");
    drop(pods);
    node.del("b", None);
    assert_eq!(node.leftovers(), Vec::<String>::new());
    node.end(guard);
}

#[test]
fn nodes_on_the_same_network_reach_each_others_pods() {
    let test = "cni_auto::nodes_on_the_same_network_reach_each_others_pods";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let route = || node.host.ip(&["route", "show", "10.244.4.0/24"]);
    let other = json!({"metadata": {"name": "m"}, "spec": {"podCIDR": "10.244.4.0/24", "podCIDRs": ["10.244.4.0/24"]}});
    node.admin(|admin| admin.post("/api/v1/nodes", &other).expect(201));
    let say = |address: &str| {
        let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        node.admin(|admin| admin.patch("/api/v1/nodes/m/status", "merge", &status).expect(200));
    };
    say("192.0.2.2");
    node.until("a route", || route().contains("via 192.0.2.2 dev eth0"));
    // The outside plays the other node: it has a pod, and knows the way back.
    node.outside.address("lo", "10.244.4.7/32");
    node.outside.ip(&["route", "add", "10.244.0.0/24", "via", "192.0.2.1"]);
    let pod = TestHost::create(guard.tag(), "a");
    let address = node.add("a", &pod);
    assert_eq!(
        megabyte(&pod, &node.outside, "10.244.4.7"),
        address,
        "pods keep their addresses between nodes"
    );
    let listener = pod.inside(|| std::net::TcpListener::bind((address.as_str(), 9000)).unwrap());
    let target = std::net::SocketAddr::new(address.parse().unwrap(), 9000);
    node.outside.inside(|| std::net::TcpStream::connect_timeout(&target, PATIENCE).unwrap());
    drop(listener);
    // Somewhere else; behind a router it is named where no tunnel is asked for.
    let words = || node.log().matches("there is no tunnel (--tunnel)").count();
    let before = words();
    say("198.51.100.7");
    node.until("no route", || route().is_empty());
    node.until("a word", || words() > before);
    say("192.0.2.2");
    node.until("a route again", || route().contains("via 192.0.2.2"));
    node.admin(|admin| admin.delete("/api/v1/nodes/m").expect(200));
    node.until("no route to a node that is gone", || route().is_empty());
    node.del("a", Some(&pod));
    drop(pod);
    node.end(guard);
}

#[test]
fn both_families_are_carried() {
    let test = "cni_auto::both_families_are_carried";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::new(&guard);
    node.host.address("eth0", "2001:db8::1/64");
    node.outside.address("eth0", "2001:db8::2/64");
    node.host.ip(&["-6", "route", "add", "default", "via", "2001:db8::2"]);
    let ranges = [
        ("--cluster-cidr", "10.244.0.0/16,fd00:10:244::/56"),
        ("--service-cidr", "10.96.0.0/16,fd00:10:96::/112"),
    ];
    node.more = ranges.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect();
    node.give_ranges(&["10.244.0.0/24", "fd00:10:244:1::/64"]);
    node.start_agent();
    node.until("the CNI configuration", || node.conflist().exists());
    let pods = [TestHost::create(guard.tag(), "a"), TestHost::create(guard.tag(), "b")];
    let add = |name: &str, pod: &TestHost| {
        let result = node.succeeded(node.call("ADD", name, Some(pod), &json!({})));
        let ips = result["ips"].as_array().unwrap();
        ips.iter()
            .map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (a, b) = (add("a", &pods[0]), add("b", &pods[1]));
    assert_eq!(a, ["10.244.0.2", "fd00:10:244:1::2"]);
    for family in 0..2 {
        assert_eq!(megabyte(&pods[0], &pods[1], &b[family]), a[family]);
        megabyte(&node.host, &pods[0], &a[family]);
        let (gateway, uplink, outside) =
            [("10.244.0.1", "192.0.2.1", "192.0.2.2"), ("fd00:10:244:1::1", "2001:db8::1", "2001:db8::2")]
                [family];
        assert_eq!(megabyte(&pods[0], &node.host, gateway), a[family]);
        assert_eq!(megabyte(&pods[0], &node.host, uplink), a[family]);
        assert_eq!(megabyte(&pods[0], &node.outside, outside), uplink, "hidden behind the node");
    }
    node.del("a", Some(&pods[0]));
    node.del("b", Some(&pods[1]));
    assert_eq!(node.leftovers(), Vec::<String>::new());
    drop(pods);
    node.end(guard);
}

#[test]
fn an_uplink_may_come_and_go() {
    let test = "cni_auto::an_uplink_may_come_and_go";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::new(&guard);
    node.host.ip(&["link", "del", "eth0"]);
    node.give_range();
    node.start_agent();
    node.until("the CNI configuration", || node.conflist().exists());
    let pods = [TestHost::create(guard.tag(), "a"), TestHost::create(guard.tag(), "b")];
    let (a, b) = (node.add("a", &pods[0]), node.add("b", &pods[1]));
    // Alone: pods and node reach each other.
    assert_eq!(megabyte(&pods[0], &pods[1], &b), a);
    assert_eq!(megabyte(&pods[0], &node.host, "10.244.0.1"), a);
    megabyte(&node.host, &pods[0], &a);
    for turn in 0..2 {
        node.host.connect("eth0", &node.outside, "eth0");
        node.host.address("eth0", "192.0.2.1/24");
        node.outside.address("eth0", "192.0.2.2/24");
        node.host.ip(&["route", "add", "default", "via", "192.0.2.2"]);
        let seen = || node.log().matches("Masquerade { v4: Some(192.0.2.1)").count();
        node.until("the uplink", || seen() > turn);
        // The programs follow in the same look.
        let look = std::time::Duration::from_millis(500);
        node.until("the outside", || {
            datagram_within(&pods[0], &node.outside, "192.0.2.2", look).as_deref() == Some("192.0.2.1")
        });
        assert_eq!(megabyte(&pods[1], &node.outside, "192.0.2.2"), "192.0.2.1");
        let alone = || node.log().matches("Masquerade { v4: None").count();
        let before = alone();
        node.host.ip(&["link", "del", "eth0"]);
        node.until("no uplink", || alone() > before);
        assert_eq!(megabyte(&pods[0], &pods[1], &b), a);
    }
    node.del("a", Some(&pods[0]));
    node.del("b", Some(&pods[1]));
    drop(pods);
    node.end(guard);
}

#[test]
fn host_ports_are_opened_checked_and_closed() {
    let test = "cni_auto::host_ports_are_opened_checked_and_closed";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let node = Node::ready(&guard);
    let pod = TestHost::create(guard.tag(), "a");
    let asking = |port: u16, previous: &serde_json::Value| {
        json!({"runtimeConfig": {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]},
            "prevResult": previous})
    };
    let listener = pod.inside(|| std::net::TcpListener::bind(("0.0.0.0", 80)).unwrap());
    let none = serde_json::Value::Null;
    let mut first = asking(8080, &none);
    first.as_object_mut().unwrap().remove("prevResult");
    let result = node.succeeded(node.call("ADD", "a", Some(&pod), &first));
    let knock = |from: &TestHost| {
        let target = "192.0.2.1:8080".parse().unwrap();
        from.inside(|| std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_secs(10)))
            .is_ok()
    };
    assert!(knock(&node.outside), "from outside");
    assert!(listener.accept().is_ok());
    node.succeeded(node.call("CHECK", "a", Some(&pod), &asking(8080, &result)));
    // What was asked for and is not there is named.
    let said = node.call("CHECK", "a", Some(&pod), &asking(8081, &result)).failed_with(104);
    assert!(said.contains("8081"), "{said}");
    node.del("a", Some(&pod));
    assert!(!knock(&node.outside), "it is closed");
    drop((listener, pod));
    node.end(guard);
}
