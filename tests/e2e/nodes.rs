//! Two machines, one cluster: pods reach pods, Services and names on both, over one network or through a tunnel; a node
//! leaves and comes back.

mod connectivity;
mod datagrams;
mod policies;
mod seen;
mod streams;
mod traffic;
mod tunnel;
mod underlay;
mod within;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::machines::{IMAGE, Machine, PATIENCE, Segment, Switch, can_run};

/// What a user may notice of a kill.
const LONGEST_GAP: Duration = Duration::from_millis(500);
/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);

/// A web server that says its name, on a node.
fn web(name: &str, node: &str) -> String {
    pod(
        name,
        node,
        "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www",
    )
}

fn pod(name: &str, node: &str, script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  \
         nodeSelector: {{kubernetes.io/hostname: {node}}}\n  terminationGracePeriodSeconds: 0\n  \
         tolerations: [{{operator: Exists}}]\n  \
         containers:\n  - name: c\n    image: {IMAGE}\n    imagePullPolicy: Never\n    command: [sh, -c, '{script}']\n---\n"
    )
}

fn service(name: &str, app: &str, kind: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: {kind}, selector: {{app: {app}}}, ports: [{{port: 80, targetPort: 8080}}]}}\n---\n"
    )
}

/// A server, and an agent that has joined it.
struct Pair {
    switch: Switch,
    a: Machine,
    b: Machine,
}

impl Pair {
    fn start(guard: &harness::host::Guard, segment: Segment) -> Pair {
        Pair::start_with(guard, segment, false)
    }

    /// With addresses of both families everywhere.
    fn start_dual(guard: &harness::host::Guard, segment: Segment) -> Pair {
        Pair::start_with(guard, segment, true)
    }

    fn start_with(guard: &harness::host::Guard, segment: Segment, dual: bool) -> Pair {
        let switch = Switch::new(guard);
        let a = Machine::new(guard, &switch, 'a', Segment::Near, 1);
        let b = Machine::new(guard, &switch, 'b', segment, 2);
        let own = |machine: &Machine| format!("--node-ip={},{}", machine.address(), machine.address6());
        let (own_a, own_b) = (own(&a), own(&b));
        let (own_a, own_b) = (own_a.as_str(), own_b.as_str());
        let ranges =
            ["--cluster-cidr=10.244.0.0/16,fd00:10:244::/56", "--service-cidr=10.96.0.0/16,fd00:10:96::/112"];
        let both = [ranges[0], ranges[1], own_a];
        let (on_a, on_b) = if dual { (&both[..], std::slice::from_ref(&own_b)) } else { (&[][..], &[][..]) };
        Pair::of(switch, a, b, on_a, on_b)
    }

    /// Of machines, with further flags of the server and of the agent.
    fn of(switch: Switch, mut a: Machine, mut b: Machine, on_a: &[&str], on_b: &[&str]) -> Pair {
        a.start_server(on_a);
        a.until_ready("node-a");
        let token = a.token();
        b.start_agent(&a, &token, on_b);
        a.until("node-b registers", || a.kubectl(&["get", "node", "node-b"]).status.success());
        a.until_ready("node-b");
        a.until("pods have an account", || a.kubectl(&["get", "serviceaccount", "default"]).status.success());
        Pair { switch, a, b }
    }

    /// A web server and a client on each node, a Service for each server.
    fn populate(&self) {
        let mut yaml = String::new();
        for node in ["a", "b"] {
            yaml.push_str(&web(&format!("web-{node}"), &format!("node-{node}")));
            yaml.push_str(&pod(&format!("client-{node}"), &format!("node-{node}"), "exec sleep 100000"));
            yaml.push_str(&service(&format!("web-{node}"), &format!("web-{node}"), "NodePort"));
        }
        self.a.apply(&yaml);
        self.a.until_pods(&["web-a", "web-b", "client-a", "client-b"]);
    }

    fn pod_ip(&self, pod: &str) -> String {
        self.a.must(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])
    }

    /// What a pod gets from a URL; tried for a while, because Services take a moment.
    fn fetch(&self, from: &str, url: &str) -> String {
        let began = Instant::now();
        loop {
            let output = self.a.kubectl_within("20", &["exec", from, "--", "wget", "-q", "-O", "-", url]);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                began.elapsed() < PATIENCE,
                "{from} to {url}: {told}\n{}\n{}",
                self.a.last_lines(),
                self.b.last_lines()
            );
        }
    }

    fn everything_reaches_everything(&self) {
        for (from, to) in
            [("client-a", "web-b"), ("client-b", "web-a"), ("client-a", "web-a"), ("client-b", "web-b")]
        {
            assert_eq!(
                self.fetch(from, &format!("http://{}:8080/", self.pod_ip(to))),
                to,
                "{from} to the pod"
            );
            assert_eq!(self.fetch(from, &format!("http://{to}/")), to, "{from} by name");
        }
        for (to, through) in [("web-b", &self.a), ("web-a", &self.b), ("web-a", &self.a), ("web-b", &self.b)]
        {
            let port = self.a.must(&["get", "service", to, "-o", "jsonpath={.spec.ports[0].nodePort}"]);
            let url = format!("http://{}:{port}/", through.address());
            let said = self.switch.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
            assert_eq!(said.trim(), to, "{url}");
        }
        // The node itself is a client, too.
        for machine in [&self.a, &self.b] {
            for to in ["web-a", "web-b"] {
                let url = format!("http://{}:8080/", self.pod_ip(to));
                let said = machine.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
                assert_eq!(said.trim(), to, "{} to {url}", machine.name);
            }
        }
        assert_eq!(self.a.must(&["exec", "client-b", "--", "hostname"]).trim(), "client-b");
        self.a.must(&["logs", "web-b"]);
    }
}

#[test]
fn two_nodes_on_one_network() {
    const TEST: &str = "two_nodes_on_one_network";
    if !can_run(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut pair = Pair::start(&guard, Segment::Near);
    pair.populate();
    pair.everything_reaches_everything();
    let links = pair.a.host.ip(&["-d", "-o", "link"]);
    assert!(!links.contains("vxlan"), "no tunnel where none is needed:\n{links}");
    datagrams::connected_sockets_follow(&pair);
    traffic::policies_hold(&pair);
    seen::translation_is_told(&pair);
    kills_are_not_noticed(&pair);
    a_node_leaves_and_comes_back(&mut pair);
    drop(pair);
    guard.finish();
}

#[test]
fn two_nodes_through_a_tunnel() {
    const TEST: &str = "two_nodes_through_a_tunnel";
    if !can_run(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut pair = Pair::start_dual(&guard, Segment::Far);
    pair.populate();
    let third = tunnel::join(&guard, &pair);
    let links = pair.a.host.ip(&["-d", "-o", "link"]);
    assert!(links.contains("vxlan id 75 ") && links.contains("dstport 8472"), "{links}");
    pair.everything_reaches_everything();
    tunnel::routes_and_tunnel_meet(&pair, &third);
    tunnel::carries_both_families(&pair);
    let shown = pair.b.net("agent-node", "status");
    let peers = shown["tunnel"]["peers"].as_array().into_iter().flatten().map(|peer| &peer["node"]);
    let known = [&pair.a, &third].map(|machine| serde_json::Value::from(machine.address().to_string()));
    assert!(peers.clone().count() == 2 && peers.clone().all(|peer| known.contains(peer)), "{shown}");
    assert_eq!(shown["endpoints"].as_array().map(Vec::len), Some(4), "two pods, two families: {shown}");
    assert_eq!(shown["endpoints"][0]["state"], "READY", "{shown}");
    let services = pair.a.net("node", "services").to_string();
    assert!(services.contains(&format!("{}:8080", pair.pod_ip("web-b"))), "{services}");
    // Pods know how much fits, and what is larger than a packet arrives whole.
    for pod in ["client-b", "web-b"] {
        assert_eq!(
            pair.a.must(&["exec", pod, "--", "cat", "/sys/class/net/eth0/mtu"]).trim(),
            "1450",
            "{pod}"
        );
    }
    pair.a.must(&["exec", "web-b", "--", "dd", "if=/dev/zero", "of=/tmp/www/large", "bs=64k", "count=160"]);
    let url = format!("http://{}:8080/large", pair.pod_ip("web-b"));
    let script = format!("wget -q -O - {url} | busybox wc -c");
    assert_eq!(pair.a.must(&["exec", "client-a", "--", "sh", "-c", &script]).trim(), "10485760");
    tunnel::carries_what_is_large(&pair);
    kills_are_not_noticed(&pair);
    a_node_leaves_and_comes_back(&mut pair);
    traffic_stays_near(&pair);
    drop(third);
    drop(pair);
    guard.finish();
}

/// trafficDistribution: in the client's zone, then on its node; elsewhere where nobody is there.
fn traffic_stays_near(pair: &Pair) {
    let zone = |node: &str, zone: &str| {
        pair.a.must(&["label", "--overwrite", "node", node, &format!("topology.kubernetes.io/zone={zone}")]);
    };
    let prefer = |what: &str| {
        let patch = format!("{{\"spec\":{{\"trafficDistribution\":{what:?}}}}}");
        pair.a.must(&["patch", "service", "near", "--type=merge", "-p", &patch]);
    };
    zone("node-a", "east");
    zone("node-b", "west");
    pair.a.must(&["label", "pod", "web-a", "web-b", "tier=web"]);
    pair.a.apply(
        &service("near", "near", "ClusterIP")
            .replace("selector: {app: near}", "selector: {tier: web}, trafficDistribution: PreferSameZone"),
    );
    let address = pair.a.must(&["get", "service", "near", "-o", "jsonpath={.spec.clusterIP}"]);
    let (on_a, on_b) = (format!("{}:8080", pair.pod_ip("web-a")), format!("{}:8080", pair.pod_ip("web-b")));
    let frontend = format!("TCP {address}:80");
    let leads = |machine: &Machine, backends: &[&str]| pair.leads(machine, &frontend, "cluster", backends);
    let each_at_home = || {
        leads(&pair.a, &[&on_a]);
        leads(&pair.b, &[&on_b]);
        for (client, own) in [("client-a", "web-a"), ("client-b", "web-b")] {
            for _ in 0..4 {
                assert_eq!(pair.fetch(client, "http://near/"), own, "{client}");
            }
        }
    };
    each_at_home();
    // One zone of both nodes: anybody, until the node counts.
    zone("node-b", "east");
    leads(&pair.a, &[&on_a, &on_b]);
    leads(&pair.b, &[&on_a, &on_b]);
    prefer("PreferSameNode");
    each_at_home();
    prefer("PreferClose");
    zone("node-b", "west");
    each_at_home();
    pair.a.must(&["delete", "pod", "web-a", "--grace-period=0", "--force"]);
    leads(&pair.a, &[&on_b]);
    assert_eq!(pair.fetch("client-a", "http://near/"), "web-b", "nobody is left in its zone");
}

#[test]
fn both_families_on_one_node() {
    const TEST: &str = "both_families_on_one_node";
    if !can_run(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let switch = Switch::new(&guard);
    let mut node = Machine::new(&guard, &switch, 'a', Segment::Near, 1);
    let addresses = format!("--node-ip={},{}", node.address(), node.address6());
    node.start_server(&[
        "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56",
        "--service-cidr=10.96.0.0/16,fd00:10:96::/112",
        &addresses,
    ]);
    node.until_ready("node-a");
    node.until("pods have an account", || {
        node.kubectl(&["get", "serviceaccount", "default"]).status.success()
    });
    let mut yaml = web("web-a", "node-a");
    yaml.push_str(&pod("client-a", "node-a", "exec sleep 100000"));
    yaml.push_str(
        &service("web-a", "web-a", "NodePort").replace("spec: {", "spec: {ipFamilyPolicy: PreferDualStack, "),
    );
    node.apply(&yaml);
    node.until_pods(&["web-a", "client-a"]);
    let list =
        |what: &[&str]| -> Vec<String> { node.must(what).split_whitespace().map(str::to_owned).collect() };
    let ranges = list(&["get", "node", "node-a", "-o", "jsonpath={.spec.podCIDRs[*]}"]);
    assert_eq!(ranges, ["10.244.0.0/22", "fd00:10:244::/64"]);
    let pods = list(&["get", "pod", "web-a", "-o", "jsonpath={.status.podIPs[*].ip}"]);
    let services = list(&["get", "service", "web-a", "-o", "jsonpath={.spec.clusterIPs[*]}"]);
    assert!(pods.len() == 2 && pods[1].starts_with("fd00:10:244:"), "{pods:?}");
    assert!(services.len() == 2 && services[1].starts_with("fd00:10:96:"), "{services:?}");
    node.until("a slice for each family", || {
        let slices = [
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=web-a",
            "-o",
            "jsonpath={.items[*].addressType}",
        ];
        let mut found = list(&slices);
        found.sort();
        found == ["IPv4", "IPv6"]
    });
    let fetch = |url: &str| {
        let began = Instant::now();
        loop {
            let output = node.kubectl_within("20", &["exec", "client-a", "--", "wget", "-q", "-O", "-", url]);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(began.elapsed() < PATIENCE, "{url}: {told}\n{}", node.last_lines());
        }
    };
    for url in [
        format!("http://{}:8080/", pods[0]),
        format!("http://[{}]:8080/", pods[1]),
        format!("http://{}/", services[0]),
        format!("http://[{}]/", services[1]),
        "http://web-a/".to_owned(),
    ] {
        assert_eq!(fetch(&url), "web-a", "{url}");
    }
    let name = "web-a.default.svc.cluster.local";
    let told = node.must(&["exec", "client-a", "--", "busybox", "nslookup", "-type=aaaa", name]);
    assert!(told.contains(&services[1]), "{told}");
    let port = node.must(&["get", "service", "web-a", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    for url in [format!("http://{}:{port}/", node.address()), format!("http://[{}]:{port}/", node.address6())]
    {
        let said = switch.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
        assert_eq!(said.trim(), "web-a", "{url}");
    }
    for pod in &pods {
        let url =
            if pod.contains(':') { format!("http://[{pod}]:8080/") } else { format!("http://{pod}:8080/") };
        let said = node.host.must("timeout", &["30", "busybox", "wget", "-q", "-O", "-", &url]);
        assert_eq!(said.trim(), "web-a", "from the node to {url}");
    }
    connectivity::is_tested(&node);
    connectivity::failures_are_told(&node);
    drop(node);
    drop(switch);
    guard.finish();
}

/// Connections from outside to a server on the other node, and one between pods that stands, through kills of everything that is
/// ours on both.
fn kills_are_not_noticed(pair: &Pair) {
    let port = pair.a.must(&["get", "service", "web-b", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    let port: u16 = port.trim().parse().expect("a port");
    let public = SocketAddr::new(pair.a.address(), port);
    let stop = AtomicBool::new(false);
    let control = harness::stall::Control::start();
    let held = streams::held(pair);
    let ((count, gap), (answers, silence)) = std::thread::scope(|scope| {
        let calls = scope.spawn(|| pair.switch.host.inside(|| connect_until(public, &stop)));
        let stands = scope.spawn(|| streams::talk(held, &stop));
        for (machine, part) in
            [(&pair.b, "agent-node"), (&pair.a, "node"), (&pair.a, "control"), (&pair.b, "agent-node")]
        {
            machine.until("the part runs", || machine.process(part).is_some());
            std::thread::sleep(Duration::from_secs(1));
            machine.kill(part);
            std::thread::sleep(Duration::from_secs(1));
        }
        stop.store(true, Ordering::SeqCst);
        (calls.join().expect("it ends"), stands.join().expect("it ends"))
    });
    // What the machine itself makes everybody wait is not ours.
    let limit = LONGEST_GAP + 2 * control.longest();
    println!(
        "outside to NodePort on the other node: {count} connections through 4 kills, longest gap {} ms",
        gap.as_millis()
    );
    println!(
        "a connection between their pods: {answers} answers, longest silence {} ms",
        silence.as_millis()
    );
    assert!(answers > 40, "{answers} answers");
    assert!(silence < limit, "a silence of {} ms", silence.as_millis());
    assert!(count > 40, "{count} connections");
    assert!(gap < limit, "a gap of {} ms", gap.as_millis());
}

/// One connection after the other; how many, and the longest time between two answers.
fn connect_until(address: SocketAddr, stop: &AtomicBool) -> (u32, Duration) {
    let (mut count, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    while !stop.load(Ordering::SeqCst) {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER).expect("a connection");
        stream.set_read_timeout(Some(ANSWER)).expect("a limit");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.trim_end().ends_with("web-b"), "{answer}");
        count += 1;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
    }
    (count, longest)
}

/// Without power and without its Node, then with both.
fn a_node_leaves_and_comes_back(pair: &mut Pair) {
    let range = |machine: &Machine, node: &str| {
        machine.must(&["get", "node", node, "-o", "jsonpath={.spec.podCIDR}"])
    };
    let gone = range(&pair.a, "node-b");
    assert!(pair.a.host.ip(&["route"]).contains(gone.trim()), "{gone}");
    pair.b.power_off();
    pair.a.must(&["delete", "node", "node-b"]);
    // Nobody is there to end them; without force they are collected after a while.
    pair.a.must(&["delete", "pod", "web-b", "client-b", "--force", "--grace-period=0"]);
    pair.a.until("the way to it is gone", || !pair.a.host.ip(&["route"]).contains(gone.trim()));
    pair.a.until("its pods are gone", || !pair.a.must(&["get", "pods"]).contains("-b "));
    pair.b.power_on();
    pair.a.until("node-b registers", || pair.a.kubectl(&["get", "node", "node-b"]).status.success());
    pair.a.until_ready("node-b");
    pair.a.until("it has a range", || !range(&pair.a, "node-b").is_empty());
    let mut yaml = web("web-b", "node-b");
    yaml.push_str(&pod("client-b", "node-b", "exec sleep 100000"));
    pair.a.apply(&yaml);
    pair.a.until_pods(&["web-b", "client-b"]);
    pair.everything_reaches_everything();
}
