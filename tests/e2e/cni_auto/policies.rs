//! NetworkPolicies on a node: what they let through, from the first packet on and through kills of the agent.

mod families;
mod seen;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use harness::netns::TestHost;
use serde_json::{Value, json};

use super::{Node, PATIENCE};

/// How long a packet that is dropped is waited for.
const SILENCE: Duration = Duration::from_millis(150);
/// How long an answer may take; less than the second after which TCP tries again, so that a first packet that was dropped
/// shows.
const ANSWER: Duration = Duration::from_millis(900);
/// A machine that stands still for so long says nothing about first packets.
const STALL: Duration = Duration::from_millis(200);
/// Datagrams that have knocked before one can say that none got through.
const KNOCKS: usize = 1_000;
const KILLS: usize = 5;
/// Tries after the agent has loaded its programs.
const AFTER_LOADING: usize = 10;
const RACES: usize = 8;
/// The port of every pod at which datagrams may knock.
const KNOCKED: u16 = 90;

/// A pod of the API, connected.
struct Pod {
    host: TestHost,
    name: String,
    address: IpAddr,
    listeners: Vec<TcpListener>,
    /// Nobody reads it before the end: what has ever got through to [`KNOCKED`] lies there.
    trap: UdpSocket,
}

impl Node {
    pub(super) fn namespace(&self, name: &str, labels: &Value) {
        if name != "default" {
            let object = json!({"metadata": {"name": name, "labels": labels}});
            self.admin(|admin| admin.post("/api/v1/namespaces", &object).expect(201));
        }
        // What the controllers make elsewhere; without it no pod is admitted.
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
        self.admin(|admin| drop(admin.post(&path, &json!({"metadata": {"name": "default"}}))));
    }

    /// Makes the object; its UID is what the plugin will be told.
    pub(super) fn object(&mut self, namespace: &str, name: &str, labels: &Value) {
        let ports = json!([{"name": "http", "containerPort": 80}]);
        let object = json!({"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "n",
            "containers": [{"name": "c", "image": "i", "ports": ports}]}});
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let made = self.admin(|admin| admin.post(&path, &object).expect(201));
        let uid = made["metadata"]["uid"].as_str().expect("a UID").to_owned();
        self.known.insert(name.to_owned(), (namespace.to_owned(), uid));
    }

    /// Listens on ports 80 and 81 before there is an address.
    fn pod(&mut self, namespace: &str, name: &str, labels: &Value) -> Pod {
        self.object(namespace, name, labels);
        let host = TestHost::create(&self.tag, name);
        let listen = |port: u16| host.inside(|| TcpListener::bind(("::", port)).expect("a listener"));
        let listeners = vec![listen(80), listen(81)];
        for listener in &listeners {
            let listener = listener.try_clone().expect("a listener");
            // Or the queue fills, and what looks denied only waits. Ends when the pod's listeners are shut.
            std::thread::spawn(move || while listener.accept().is_ok() {});
        }
        let trap = host.inside(|| UdpSocket::bind(("::", KNOCKED)).expect("a socket"));
        trap.set_nonblocking(true).expect("a socket that does not wait");
        let address = self.add(name, &host).parse().expect("an address");
        Pod { host, name: name.to_owned(), address, listeners, trap }
    }

    pub(super) fn policy(&self, name: &str, spec: &Value) {
        let path = format!("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/{name}");
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name}, "spec": spec});
        let query = format!("{path}?fieldManager=test&force=true");
        self.admin(|admin| {
            drop(admin.delete(&path));
            let body = object.to_string();
            let made = admin.send("PATCH", &query, "application/apply-patch+yaml", body.as_bytes());
            made.expect(201);
        });
    }

    pub(super) fn no_policy(&self, name: &str) {
        let path = format!("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/{name}");
        self.admin(|admin| drop(admin.delete(&path)));
    }

    /// What `keelson flows` prints.
    fn flows(&self, flags: &[&str]) -> Vec<Value> {
        let mut command = std::process::Command::new(super::KEELSON);
        let output = command.arg("flows").arg("--state-dir").arg(self.folder.path().join("run")).args(flags);
        let output = output.output().expect("keelson flows runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).expect("a flow")).collect()
    }

    fn settles(&self, what: &str, from: &TestHost, to: (IpAddr, u16), expect: bool) {
        let begun = std::time::Instant::now();
        while reaches(from, to) != expect {
            assert!(begun.elapsed() < PATIENCE, "{what}: {to:?} expected {expect}\n{}", self.log());
        }
    }
}

impl Pod {
    /// How many datagrams have got through since it was last asked.
    fn knocks(&self) -> usize {
        std::iter::from_fn(|| self.trap.recv(&mut [0; 8]).ok()).count()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes who accepts.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }
}

fn reaches(from: &TestHost, to: (IpAddr, u16)) -> bool {
    from.inside(|| TcpStream::connect_timeout(&SocketAddr::from(to), SILENCE)).is_ok()
}

/// With its first packet.
fn answers(from: &TestHost, to: (IpAddr, u16)) -> bool {
    let connects =
        |patience| from.inside(|| TcpStream::connect_timeout(&SocketAddr::from(to), patience)).is_ok();
    let control = harness::stall::Control::start();
    let at_once = connects(ANSWER);
    let machine = control.longest();
    at_once || (machine > STALL && connects(10 * ANSWER))
}

#[test]
fn policies_let_through_what_they_say() {
    let test = "cni_auto::policies_let_through_what_they_say";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    node.namespace("default", &Value::Null);
    node.namespace("x", &json!({"team": "x"}));
    let web = node.pod("default", "web", &json!({"app": "web"}));
    let near = node.pod("default", "near", &json!({"app": "client"}));
    let far = node.pod("x", "far", &json!({"app": "client"}));
    let (at_web, at_near) = ((web.address, 80), (near.address, 80));
    let outside: IpAddr = "192.0.2.2".parse().unwrap();
    let _there = node.outside.inside(|| TcpListener::bind((outside, 8_080)).unwrap());
    for (what, from) in [("near", &near.host), ("far", &far.host), ("the node", &node.host)] {
        assert!(answers(from, at_web), "{what} before any policy");
    }
    let mut stands = near.host.inside(|| TcpStream::connect(SocketAddr::from(at_web)).unwrap());
    let check = |what: &str, rules: Value, wanted: [bool; 3]| {
        node.policy("p", &json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": rules}));
        for (from, (port, expect)) in
            [(&near.host, (80, wanted[0])), (&near.host, (81, wanted[1])), (&far.host, (80, wanted[2]))]
        {
            node.settles(what, from, (web.address, port), expect);
        }
        assert!(answers(&node.host, at_web), "{what}: its node always may");
        assert!(answers(&web.host, at_near), "{what}: nothing was said about egress");
    };
    let client = json!({"matchLabels": {"app": "client"}});
    check("deny all", json!([]), [false, false, false]);
    check("allow all", json!([{}]), [true, true, true]);
    check("pods", json!([{"from": [{"podSelector": client}]}]), [true, true, false]);
    check(
        "namespaces",
        json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]),
        [false, false, true],
    );
    let both = json!([{"from": [{"podSelector": client, "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}]}]);
    check("both", both, [false, false, true]);
    check("a port", json!([{"ports": [{"port": 81}]}]), [false, true, false]);
    check("a range", json!([{"ports": [{"port": 75, "endPort": 80}]}]), [true, false, true]);
    check("a named port", json!([{"ports": [{"port": "http"}]}]), [true, false, true]);
    let block = json!({"cidr": "10.244.0.0/24", "except": [format!("{}/32", near.address)]});
    check("a block except", json!([{"from": [{"ipBlock": block}]}]), [false, false, true]);
    // Labels come and go, of pods and of namespaces.
    check(
        "before labels",
        json!([{"from": [{"podSelector": {"matchLabels": {"may": "yes"}}}, {"namespaceSelector": {"matchLabels": {"may": "yes"}}}]}]),
        [false, false, false],
    );
    let label = |path: &str, value: Value| {
        let patch = json!({"metadata": {"labels": {"may": value}}});
        node.admin(|admin| drop(admin.patch(path, "merge", &patch).expect(200)));
    };
    label("/api/v1/namespaces/default/pods/near", json!("yes"));
    node.settles("a pod's label", &near.host, at_web, true);
    label("/api/v1/namespaces/default/pods/near", Value::Null);
    node.settles("a pod's label gone", &near.host, at_web, false);
    label("/api/v1/namespaces/x", json!("yes"));
    node.settles("a namespace's label", &far.host, at_web, true);
    // A connection that stands follows the policy: its other end has gone, so what arrived would come back as a reset.
    use std::io::Write as _;
    stands.write_all(b"lost").expect("a connection that nobody has reset");
    std::thread::sleep(SILENCE);
    let reset = nix::sys::socket::getsockopt(&stands, nix::sys::socket::sockopt::SocketError);
    assert_eq!(reset.expect("SO_ERROR"), 0, "a connection that stands");
    drop(stands);
    node.no_policy("p");
    node.settles("no policy", &near.host, at_web, true);

    node.policy(
        "out",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.2/32"}}], "ports": [{"port": 8080}]}]}),
    );
    node.settles("egress to a pod", &web.host, at_near, false);
    assert!(answers(&web.host, (outside, 8_080)), "egress to the block");
    assert!(answers(&near.host, at_web), "nothing was said about ingress");
    node.no_policy("out");
    node.settles("no egress policy", &web.host, at_near, true);
    let told = node.flows(&["--verdict", "DROPPED", "--to-pod", "web", "--last", "1000", "-o", "json"]);
    let near_denied = |flow: &Value| {
        flow["drop_reason"] == "POLICY_INGRESS"
            && flow["source"]["name"]["pod"] == "near"
            && flow["flags"] == "SYN"
    };
    assert!(told.iter().any(near_denied), "{told:?}");
    assert!(node.flows(&["--to-pod", "nobody", "--last", "1000", "-o", "json"]).is_empty());
    for pod in [web, near, far] {
        node.del(&pod.name, Some(&pod.host));
    }
    node.end(guard);
}

#[test]
fn the_first_packet_is_denied_or_right() {
    let test = "cni_auto::the_first_packet_is_denied_or_right";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    node.namespace("default", &Value::Null);
    let peer = node.pod("default", "peer", &json!({"app": "peer"}));
    let guarded = node.pod("default", "guarded", &json!({"app": "guarded"}));
    // Who is called friend may talk to the guarded one, nobody else.
    node.policy(
        "guard",
        &json!({"podSelector": {"matchLabels": {"app": "guarded"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}]}),
    );
    node.settles("the guard", &peer.host, (guarded.address, 80), false);
    let mut next = guarded.address;
    for race in 0..=RACES {
        // Once, for comparison, without one: what knocks does get through.
        let free = race == RACES;
        let friend = if race % 2 == 0 { "yes" } else { "no" };
        let name = format!("new{race}");
        // The policy of the new pod is as new as itself.
        node.policy(
            "fresh",
            &json!({"podSelector": {"matchLabels": {"race": if free { "none".to_owned() } else { race.to_string() }}},
            "ingress": [{"ports": [{"port": 81}]}], "egress": [{"ports": [{"port": 80}]}]}),
        );
        next = after(next);
        let (stop, knocked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let hammers: Vec<_> = (0..2).map(|_| hammer(&peer, next, &stop, &knocked)).collect();
        node.until("a knock at nobody", || knocked.load(Ordering::SeqCst) > 0);
        let new = node.pod("default", &name, &json!({"race": race.to_string(), "friend": friend}));
        assert_eq!(new.address, next, "the address that is knocked at");
        let first = answers(&new.host, (guarded.address, 80));
        assert_eq!(first, friend == "yes", "{name} to the guarded one, its first packet");
        let begins: fn(&TestHost, (IpAddr, u16)) -> bool = if free { answers } else { reaches };
        assert_eq!(begins(&new.host, (peer.address, 81)), free, "{name} may not begin this");
        assert!(answers(&peer.host, (new.address, 81)), "{name} may be asked this");
        if free {
            node.until("a knock", || new.knocks() > 0);
        }
        node.until("knocks", || knocked.load(Ordering::SeqCst) > KNOCKS);
        stop.store(true, Ordering::SeqCst);
        hammers.into_iter().for_each(|hammer| hammer.join().expect("a hammer"));
        if !free {
            assert_eq!(new.knocks(), 0, "{name} was reached before its policy: of {knocked:?}");
        }
        node.del(&name, Some(&new.host));
    }
    for pod in [peer, guarded] {
        node.del(&pod.name, Some(&pod.host));
    }
    node.end(guard);
}

/// What the plugin gives to the next pod.
fn after(address: IpAddr) -> IpAddr {
    let IpAddr::V4(address) = address else { panic!("{address} is not of this node") };
    IpAddr::V4((u32::from(address) + 1).into())
}

/// Sends datagrams to [`KNOCKED`] of an address as fast as it can, and counts them.
fn hammer(
    from: &Pod,
    to: IpAddr,
    stop: &Arc<AtomicBool>,
    sent: &Arc<AtomicUsize>,
) -> std::thread::JoinHandle<()> {
    let socket = from.host.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    let (stop, sent) = (Arc::clone(stop), Arc::clone(sent));
    std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            if socket.send_to(b"x", (to, KNOCKED)).is_ok() {
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn kills_of_the_agent_open_no_gap() {
    let test = "cni_auto::kills_of_the_agent_open_no_gap";
    if !harness::root_or_skip(test) {
        return;
    }
    let guard = harness::host::exclusive(test);
    let mut node = Node::ready(&guard);
    node.namespace("default", &Value::Null);
    let web = node.pod("default", "web", &json!({"app": "web"}));
    let near = node.pod("default", "near", &json!({"app": "client"}));
    node.policy(
        "p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"ports": [{"port": 81}], "from": [{"podSelector": {}}]}]}),
    );
    node.settles("the policy", &near.host, (web.address, 80), false);
    assert!(answers(&near.host, (web.address, 81)));
    for round in 0..KILLS {
        node.kill_agent();
        let loaded = node.log().matches("the datapath is loaded").count();
        let last = round + 1 == KILLS;
        if last {
            // And the API with it: the last state stays.
            node.server.as_mut().expect("the API").kill();
        }
        node.start_agent();
        // Until it has loaded, and a while after that.
        let (mut left, begun) = (AFTER_LOADING, std::time::Instant::now());
        while left > 0 {
            assert!(!reaches(&near.host, (web.address, 80)), "round {round}: denied");
            assert!(answers(&near.host, (web.address, 81)), "round {round}: allowed");
            if node.log().matches("the datapath is loaded").count() > loaded {
                left -= 1;
            }
            assert!(begun.elapsed() < PATIENCE, "round {round}: no datapath\n{}", node.log());
        }
    }
    let host = &node.host;
    let server = node.server.as_mut().expect("the API");
    host.inside(|| server.restart());
    node.until("its answer", || node.call("STATUS", "", None, &Value::Null).status.success());
    assert!(!reaches(&near.host, (web.address, 80)) && answers(&near.host, (web.address, 81)));
    for pod in [web, near] {
        node.del(&pod.name, Some(&pod.host));
    }
    node.end(guard);
}
