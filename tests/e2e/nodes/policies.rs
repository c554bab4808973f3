//! NetworkPolicies where the two ends are on two nodes, in both families: by selector, by named port, by block; for the
//! nodes' own processes, for connections that stand, and for a pod that is new.

use std::time::{Duration, Instant};

use super::{Pair, pod, service, web};
use crate::machines::{Machine, PATIENCE, Segment};

/// How long a denied call is waited for, in seconds.
const SILENCE: &str = "1";
/// How long an answer may take on a busy machine, in seconds.
const ANSWER: &str = "20";

/// A policy of the web server on node b.
fn policy(ingress: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: web}}\n\
         spec: {{podSelector: {{matchLabels: {{app: web-b}}}}, ingress: {ingress}}}\n"
    )
}

impl Pair {
    pub(super) fn addresses(&self, pod: &str) -> Vec<String> {
        let shown = self.a.must(&["get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"]);
        shown.split_whitespace().map(str::to_owned).collect()
    }

    fn may(&self, from: &str, url: &str, patience: &str) -> bool {
        let words = ["exec", from, "--", "busybox", "timeout", patience, "wget", "-q", "-O", "-", url];
        self.a.kubectl_within("60", &words).status.success()
    }

    /// Waits until it is so.
    fn settles(&self, what: &str, from: &str, url: &str, expect: bool) {
        let began = Instant::now();
        while self.may(from, url, SILENCE) != expect {
            let logs = || format!("{}\n{}", self.a.last_lines(), self.b.last_lines());
            assert!(began.elapsed() < PATIENCE, "{what}: {from} to {url}, expected {expect}\n{}", logs());
        }
    }

    /// How much a connection that stands has brought so far.
    fn heard(&self, pod: &str) -> u64 {
        let said = self.a.must(&["exec", pod, "--", "sh", "-c", "wc -l < /tmp/heard"]);
        said.trim().parse().expect("a number")
    }
}

fn url(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("http://[{address}]:{port}/")
    } else {
        format!("http://{address}:{port}/")
    }
}

/// Whether a machine's own process may call.
fn machine_may(machine: &Machine, url: &str, patience: &str) -> bool {
    let words = [patience, "busybox", "wget", "-q", "-O", "-", url];
    machine.host.run("timeout", &words).status.success()
}

#[test]
fn policies_hold_between_nodes() {
    const TEST: &str = "policies_hold_between_nodes";
    if !crate::machines::can_run(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let pair = Pair::start_dual(&guard, Segment::Near);
    let named = web("web-b", "node-b")
        .replace("    imagePullPolicy", "    ports: [{name: http, containerPort: 8080}]\n    imagePullPolicy")
        .replace("exec httpd", "{ busybox nc -ll -p 9000 -e cat & } ; exec httpd");
    let mut yaml = named + &web("web-a", "node-a") + &service("web-b", "web-b", "ClusterIP");
    for name in ["client-a", "other-a"] {
        yaml.push_str(&pod(name, "node-a", "exec sleep 100000"));
    }
    pair.a.apply(&yaml);
    pair.a.until_pods(&["web-a", "web-b", "client-a", "other-a"]);
    let (at_b, at_a) = (pair.addresses("web-b"), pair.addresses("web-a"));
    assert_eq!((at_b.len(), at_a.len()), (2, 2), "{at_b:?} {at_a:?}");
    for address in &at_b {
        for from in ["client-a", "other-a"] {
            pair.settles("before any policy", from, &url(address, 8080), true);
        }
        assert!(machine_may(&pair.a, &url(address, 8080), ANSWER), "node-a to {address}");
    }
    // A connection across, which stays.
    let script = format!(
        ": > /tmp/heard; (while :; do echo x; sleep 0.1; done) | busybox nc {} 9000 > /tmp/heard 2>&1 &",
        at_b[1]
    );
    pair.a.must(&["exec", "client-a", "--", "sh", "-c", &script]);
    pair.a.until("it is answered", || pair.heard("client-a") > 3);

    by_selector_and_port(&pair, &at_b);
    connections_follow(&pair);
    by_block(&pair, &at_b);
    egress(&pair, &at_a, &at_b);
    a_new_pod(&pair, &at_b);
    drop(pair);
    guard.finish();
}

/// Who carries the label, to the port of that name; nobody else but the server's own node.
fn by_selector_and_port(pair: &Pair, at_b: &[String]) {
    pair.a.apply(&policy("[{from: [{podSelector: {matchLabels: {app: client-a}}}], ports: [{port: http}]}]"));
    for address in at_b {
        pair.settles("another pod", "other-a", &url(address, 8080), false);
        pair.settles("the pod", "client-a", &url(address, 8080), true);
        pair.a.until(&format!("node-a is no pod: {address}"), || {
            !machine_may(&pair.a, &url(address, 8080), SILENCE)
        });
        assert!(machine_may(&pair.b, &url(address, 8080), ANSWER), "its own node always may: {address}");
    }
    pair.settles("by the Service", "client-a", "http://web-b/", true);
    pair.settles("by the Service", "other-a", "http://web-b/", false);
}

/// The connection goes to a port that no rule names: it is silent now, though it stood before.
fn connections_follow(pair: &Pair) {
    let began = Instant::now();
    loop {
        let before = pair.heard("client-a");
        std::thread::sleep(Duration::from_millis(500));
        if pair.heard("client-a") == before {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "a connection that stood before its policy goes on");
    }
}

/// Machines are addresses: a block admits the other node.
fn by_block(pair: &Pair, at_b: &[String]) {
    pair.a.apply(&policy(&format!(
        "[{{from: [{{ipBlock: {{cidr: {}/32}}}}, {{ipBlock: {{cidr: {}/128}}}}]}}]",
        pair.a.address(),
        pair.a.address6()
    )));
    for address in at_b {
        pair.settles("no pod", "client-a", &url(address, 8080), false);
        let began = Instant::now();
        while !machine_may(&pair.a, &url(address, 8080), SILENCE) {
            assert!(
                began.elapsed() < PATIENCE,
                "node-a by its address to {address}\n{}",
                pair.b.last_lines()
            );
        }
    }
    pair.a.must(&["delete", "networkpolicy", "web"]);
}

/// The sender's node decides what goes out.
fn egress(pair: &Pair, at_a: &[String], at_b: &[String]) {
    pair.a.apply(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: out}\n\
         spec: {podSelector: {matchLabels: {app: client-a}}, policyTypes: [Egress], \
         egress: [{to: [{podSelector: {matchLabels: {app: web-b}}}], ports: [{port: http}]}]}\n",
    );
    for family in 0..2 {
        pair.settles("egress elsewhere", "client-a", &url(&at_a[family], 8080), false);
        pair.settles("egress to its peer", "client-a", &url(&at_b[family], 8080), true);
        assert!(pair.may("other-a", &url(&at_a[family], 8080), ANSWER), "nothing was said of other-a");
    }
    pair.a.must(&["delete", "networkpolicy", "out"]);
}

/// The other node learns of it by its labels: it is let in, and one with other labels is not.
fn a_new_pod(pair: &Pair, at_b: &[String]) {
    pair.a.apply(&policy("[{from: [{podSelector: {matchLabels: {role: friend}}}]}]"));
    pair.settles("nobody is a friend", "client-a", &url(&at_b[0], 8080), false);
    let late = |name: &str| pod(name, "node-a", "exec sleep 100000");
    let friend = late("friend-a").replace("{app: friend-a}", "{app: friend-a, role: friend}");
    pair.a.apply(&(friend + &late("stranger-a")));
    pair.a.until_pods(&["friend-a", "stranger-a"]);
    for address in at_b {
        pair.settles("a new friend", "friend-a", &url(address, 8080), true);
        assert!(!pair.may("stranger-a", &url(address, 8080), SILENCE), "a new stranger to {address}");
    }
}
