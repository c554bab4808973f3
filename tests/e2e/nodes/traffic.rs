//! What a Service says about its traffic, on packets between two nodes and from outside: traffic policies, external addresses,
//! endpoints that are not ready, pods of the host's network.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::within::{Server, by_packet};
use super::{Pair, service, web};
use crate::machines::ROUTER;

/// Where servers of the test's own listen in pods.
const PORT: u16 = 8_081;
/// How long nobody answers before that is believed.
const SILENCE: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(30);
/// An address that no node has.
const EXTERNAL: &str = "203.0.113.9";
/// Of the host's network on node b.
const HOST_PORT: u16 = 8_085;

/// Who answers a connection, and whom it says it was asked by.
fn call(to: SocketAddr, patience: Duration) -> std::io::Result<(String, IpAddr)> {
    let mut stream = by_packet(to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (who, whom) = said.split_once(' ').ok_or(ErrorKind::UnexpectedEof)?;
    Ok((who.to_owned(), whom.parse().expect("an address")))
}

pub(super) fn policies_hold(pair: &Pair) {
    let hosted = web("host-b", "node-b")
        .replace("spec:\n", "spec:\n  hostNetwork: true\n")
        .replace("8080", &HOST_PORT.to_string());
    let unready = web("unready-b", "node-b").replace(
        "    imagePullPolicy",
        "    readinessProbe: {exec: {command: [\"false\"]}}\n    imagePullPolicy",
    );
    pair.a.apply(&(hosted + &unready));
    let servers = ["web-a", "web-b"].map(|pod| Server::of_connections(pair, pod, PORT));
    external_traffic_policy(pair);
    internal_traffic_policy(pair);
    external_addresses(pair);
    drop(servers);
    not_ready(pair);
    host_network(pair);
    pair.a.must(&["delete", "service", "kept", "inner", "far", "unready", "host-b"]);
    pair.a.must(&["delete", "pod", "host-b", "unready-b", "--grace-period=0", "--force"]);
}

/// `Local`: the node with the pod shows it the client's own address, the other one is silent. `Cluster`: the other one answers, too,
/// under its own name.
fn external_traffic_policy(pair: &Pair) {
    let spec = format!(
        "type: NodePort, externalTrafficPolicy: Local, selector: {{app: web-b}}, ports: [{{port: 80, targetPort: {PORT}}}]"
    );
    pair.a.apply(&of("kept", &spec));
    let number: u16 = pair.of_service("kept", "{.spec.ports[0].nodePort}").parse().expect("a port");
    let frontend = format!("TCP node port {number} (IPv4)");
    let backend = format!("{}:{PORT}", pair.pod_ip("web-b"));
    pair.leads(&pair.b, &frontend, "external", &[&backend]);
    pair.leads(&pair.a, &frontend, "external", &[]);
    let outside = IpAddr::from(pair.a.segment.address(ROUTER));
    let ask =
        |node: IpAddr, patience| pair.switch.host.inside(|| call(SocketAddr::new(node, number), patience));
    let told = ask(pair.b.address(), ANSWER).expect("the node with the pod answers");
    assert_eq!(told, ("web-b".to_owned(), outside), "the client's own address");
    let silent = ask(pair.a.address(), SILENCE).expect_err("the other node has no such pod");
    assert_eq!(silent.kind(), ErrorKind::TimedOut, "a balancer is not refused: {silent}");
    // Pods of a node are not outside of it: to them the policy says nothing.
    let inside = pair.within("client-a", || call(SocketAddr::new(pair.a.address(), number), ANSWER));
    assert_eq!(inside.expect("its own node's port answers").0, "web-b");
    pair.a.must(&["patch", "service", "kept", "-p", "{\"spec\": {\"externalTrafficPolicy\": \"Cluster\"}}"]);
    pair.leads(&pair.a, &frontend, "external", &[&backend]);
    let (who, whom) = ask(pair.a.address(), ANSWER).expect("any node answers now");
    assert!(who == "web-b" && whom != outside, "{who} was asked by {whom}");
}

/// `Local`: each node's clients get the pod of their node, or are refused where there is none, by packet and by socket.
fn internal_traffic_policy(pair: &Pair) {
    let spec = format!(
        "internalTrafficPolicy: Local, selector: {{inner: \"yes\"}}, ports: [{{name: own, port: 80, targetPort: {PORT}}}, \
         {{name: web, port: 8080}}]"
    );
    pair.a.must(&["label", "pod", "web-b", "inner=yes"]);
    pair.a.apply(&of("inner", &spec));
    let address: IpAddr = pair.of_service("inner", "{.spec.clusterIP}").parse().expect("an address");
    let frontend = format!("TCP {address}:80");
    let [on_a, on_b] = ["web-a", "web-b"].map(|pod| format!("{}:{PORT}", pair.pod_ip(pod)));
    let ask = |client: &str| pair.within(client, || call(SocketAddr::new(address, 80), ANSWER));
    pair.leads(&pair.b, &frontend, "cluster", &[&on_b]);
    pair.leads(&pair.a, &frontend, "cluster", &[]);
    assert_eq!(ask("client-b").expect("its node has one").0, "web-b");
    let refused = ask("client-a").expect_err("its node has none");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
    let url = format!("http://{address}:8080/");
    assert_eq!(pair.fetch("client-b", &url), "web-b");
    let output = pair.a.kubectl_within("30", &["exec", "client-a", "--", "wget", "-q", "-O", "-", &url]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("Connection refused"), "{told}");
    pair.a.must(&["label", "pod", "web-a", "inner=yes"]);
    pair.leads(&pair.a, &frontend, "cluster", &[&on_a]);
    pair.leads(&pair.b, &frontend, "cluster", &[&on_b]);
    for (client, own) in [("client-a", "web-a"), ("client-b", "web-b")] {
        for _ in 0..4 {
            assert_eq!(ask(client).expect("its node has one").0, own, "{client}");
        }
    }
}

/// A packet for an address that no node has, brought to one of them.
fn external_addresses(pair: &Pair) {
    let spec = format!(
        "selector: {{app: web-b}}, externalIPs: [{EXTERNAL}], ports: [{{port: 80, targetPort: {PORT}}}]"
    );
    pair.a.apply(&of("far", &spec));
    let external = SocketAddr::new(EXTERNAL.parse().expect("an address"), 80);
    let backend = format!("{}:{PORT}", pair.pod_ip("web-b"));
    for machine in [&pair.a, &pair.b] {
        pair.leads(machine, &format!("TCP {external}"), "external", &[&backend]);
        let route = [EXTERNAL, "via", &machine.address().to_string()];
        pair.switch.host.ip(&[&["route", "add"], &route[..]].concat());
        let told = pair.switch.host.inside(|| call(external, ANSWER)).expect("an answer");
        assert_eq!(told.0, "web-b", "by {}", machine.name);
        pair.switch.host.ip(&[&["route", "del"], &route[..]].concat());
    }
    assert_eq!(
        pair.within("client-a", || call(external, ANSWER)).expect("an answer").0,
        "web-b",
        "from a pod"
    );
}

/// publishNotReadyAddresses: a pod that says it is not ready answers all the same; without it nobody does.
fn not_ready(pair: &Pair) {
    let spec = "selector: {app: unready-b}, ports: [{port: 80, targetPort: 8080}]";
    pair.a.apply(&of("unready", &format!("publishNotReadyAddresses: true, {spec}")));
    let address = pair.of_service("unready", "{.spec.clusterIP}");
    pair.a.until("the pod runs", || pair.phase("unready-b") == "Running");
    let frontend = format!("TCP {address}:80");
    pair.leads(&pair.a, &frontend, "cluster", &[&format!("{}:8080", pair.pod_ip("unready-b"))]);
    let url = format!("http://{address}/");
    assert_eq!(pair.fetch("client-a", &url), "unready-b");
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(pair.a.must(&["get", "pod", "unready-b", "-o", ready]), "False");
    pair.a.must(&["patch", "service", "unready", "-p", "{\"spec\": {\"publishNotReadyAddresses\": false}}"]);
    pair.leads(&pair.a, &frontend, "cluster", &[]);
    let output = pair.a.kubectl_within("30", &["exec", "client-a", "--", "wget", "-q", "-O", "-", &url]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("Connection refused"), "{told}");
}

/// A pod of its node's network is a client of pods and Services, and is behind one for pods of both nodes and from outside.
fn host_network(pair: &Pair) {
    pair.a.until_pods(&["host-b"]);
    assert_eq!(pair.pod_ip("host-b"), pair.b.address().to_string());
    pair.a.apply(&service("host-b", "host-b", "NodePort").replace("8080", &HOST_PORT.to_string()));
    let address = pair.of_service("host-b", "{.spec.clusterIP}");
    for machine in [&pair.a, &pair.b] {
        let backend = format!("{}:{HOST_PORT}", pair.b.address());
        pair.leads(machine, &format!("TCP {address}:80"), "cluster", &[&backend]);
    }
    // Such a pod has its node's name.
    for client in ["client-a", "client-b", "host-b"] {
        assert_eq!(pair.fetch(client, &format!("http://{address}/")), "node-b", "{client}");
    }
    let number = pair.of_service("host-b", "{.spec.ports[0].nodePort}");
    for node in [&pair.a, &pair.b] {
        let url = format!("http://{}:{number}/", node.address());
        let said = pair.switch.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
        assert_eq!(said.trim(), "node-b", "{url}");
    }
    for other in ["web-a", "web-b"] {
        let services = pair.of_service(other, "{.spec.clusterIP}");
        assert_eq!(pair.fetch("host-b", &format!("http://{}:8080/", pair.pod_ip(other))), other);
        assert_eq!(pair.fetch("host-b", &format!("http://{services}/")), other);
    }
}

fn of(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n")
}

impl Pair {
    fn phase(&self, pod: &str) -> String {
        self.a.must(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"])
    }
}
