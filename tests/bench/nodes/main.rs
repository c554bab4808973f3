//! What the way between two nodes costs: `cargo bench --bench nodes`, on demand.
//!
//! ```text
//! pod ── machine ── switch ── machine ── pod      one byte there and back, one core, the median of so many
//!        plain routes | kernel VXLAN | ours, direct | ours, through the tunnel
//! ```
//!
//! The four run one after the other over the same cables, so the ratios say more than the figures; each round
//! (`KEELSON_BENCH_ROUNDS`, 2) all of them, and of every one the calmest stretch of round trips counts.

#[path = "../../e2e/machines.rs"]
#[allow(dead_code)]
mod machines;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Instant;

use harness::host::Guard;
use harness::netns::TestHost;
use machines::{IMAGE, Machine, Segment, Switch, can_run};

const ROUND_TRIPS: usize = 20_000;
/// How many of them a median is taken of; the least median counts.
const STRETCH: usize = 1_000;
const PORT: u16 = 7777;

fn main() {
    if !can_run("bench nodes") {
        return;
    }
    let guard = harness::host::exclusive("bench nodes");
    let rounds =
        std::env::var("KEELSON_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_u32);
    let [mut routed, mut vxlan, mut direct, mut tunnel] = [f64::INFINITY; 4];
    for _ in 0..rounds {
        routed = routed.min(plain(&guard, false));
        direct = direct.min(ours(&guard, "never"));
        vxlan = vxlan.min(plain(&guard, true));
        tunnel = tunnel.min(ours(&guard, "always"));
    }
    println!("| pod to pod on another node, TCP_RR p50, one core | µs | of routed |\n|---|---|---|");
    for (what, micros) in [
        ("plain routes", routed),
        ("kernel VXLAN, routed veth", vxlan),
        ("Keelson, direct", direct),
        ("Keelson, VXLAN", tunnel),
    ] {
        println!("| {what} | {micros:.1} | {:.2} |", micros / routed);
    }
    guard.finish();
}

/// Machines that route with nothing of ours, over their uplinks or a VXLAN link.
fn plain(guard: &Guard, vxlan: bool) -> f64 {
    let switch = Switch::new(guard);
    let hosts: Vec<(TestHost, TestHost)> = [(1, 2), (2, 1)]
        .iter()
        .map(|(own, other)| {
            let machine = TestHost::create(guard.tag(), &format!("m{own}"));
            let pod = TestHost::create(guard.tag(), &format!("p{own}"));
            switch.connect(&machine, Segment::Near, *own, true);
            machine.sysctl("ipv4/ip_forward", "1");
            machine.connect("pod", &pod, "eth0");
            machine.address("pod", &format!("10.9.{own}.1/24"));
            pod.address("eth0", &format!("10.9.{own}.2/24"));
            pod.ip(&["route", "add", "default", "via", &format!("10.9.{own}.1")]);
            let via = Segment::Near.address(*other).to_string();
            let to = format!("10.9.{other}.0/24");
            if vxlan {
                let local = Segment::Near.address(*own).to_string();
                machine.ip(&[
                    "link",
                    "add",
                    "vx",
                    "type",
                    "vxlan",
                    "id",
                    "9",
                    "dev",
                    "uplink",
                    "local",
                    &local,
                    "dstport",
                    "8472",
                    "nolearning",
                ]);
                machine.ip(&["link", "set", "vx", "address", &format!("02:00:00:00:00:0{own}"), "up"]);
                let (hop, mac) = (format!("10.8.0.{other}"), format!("02:00:00:00:00:0{other}"));
                machine.address("vx", &format!("10.8.0.{own}/24"));
                machine.ip(&["neigh", "add", &hop, "lladdr", &mac, "dev", "vx", "nud", "permanent"]);
                machine.must("bridge", &["fdb", "add", &mac, "dev", "vx", "dst", &via]);
                machine.ip(&["route", "add", &to, "via", &hop, "dev", "vx"]);
                pod.ip(&["link", "set", "eth0", "mtu", "1450"]);
            } else {
                machine.ip(&["route", "add", &to, "via", &via]);
            }
            (machine, pod)
        })
        .collect();
    let server = SocketAddr::from(([10, 9, 2, 2], PORT));
    let listener = hosts[1].1.inside(|| TcpListener::bind(server).expect("a port"));
    let answering = std::thread::spawn(move || answer(&listener));
    let median = hosts[0].1.inside(|| ask(server));
    answering.join().expect("it ends");
    median
}

/// Two nodes of a cluster.
fn ours(guard: &Guard, tunnel: &str) -> f64 {
    let switch = Switch::new(guard);
    let mut a = Machine::new(guard, &switch, 'a', Segment::Near, 1);
    let mut b = Machine::new(guard, &switch, 'b', Segment::Near, 2);
    let flag = format!("--tunnel={tunnel}");
    a.start_server(&[&flag]);
    a.until_ready("node-a");
    let token = a.token();
    b.start_agent(&a, &token, &[&flag]);
    a.until("node-b registers", || a.kubectl(&["get", "node", "node-b"]).status.success());
    a.until_ready("node-b");
    a.until("pods have an account", || a.kubectl(&["get", "serviceaccount", "default"]).status.success());
    let pod = |name: &str, node: &str, mark: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{nodeName: {node}, terminationGracePeriodSeconds: 0, containers: [{{name: c, image: '{IMAGE}', imagePullPolicy: Never, command: [sleep, '{mark}']}}]}}\n---\n"
        )
    };
    let marks = ["700001", "700002"];
    a.apply(&(pod("client", "node-a", marks[0]) + &pod("server", "node-b", marks[1])));
    a.until_pods(&["client", "server"]);
    let address = a.must(&["get", "pod", "server", "-o", "jsonpath={.status.podIP}"]);
    let server = SocketAddr::new(address.trim().parse().expect("an address"), PORT);
    let listener = within(marks[1], move || TcpListener::bind(server).expect("a port"));
    let answering = std::thread::spawn(move || answer(&listener));
    let median = within(marks[0], move || ask(server));
    answering.join().expect("it ends");
    median
}

/// Runs in the network of the pod whose process is `sleep MARK`.
fn within<T: Send>(mark: &str, act: impl FnOnce() -> T + Send) -> T {
    let wanted = format!("sleep\0{mark}\0");
    let found = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .find(|entry| std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line == wanted));
    let network =
        std::fs::File::open(found.expect("the pod's process").path().join("ns/net")).expect("its network");
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(network.as_fd(), kind).expect("entering it");
                act()
            })
            .join()
            .expect("it ends")
    })
}

/// Everything on one core: what other cores do is not measured.
fn one_core() {
    let mut core = nix::sched::CpuSet::new();
    core.set(0).expect("core 0");
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &core).expect("one core");
}

fn answer(listener: &TcpListener) {
    one_core();
    let (mut stream, _) = listener.accept().expect("a client");
    stream.set_nodelay(true).expect("no delay");
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read == 1) {
        if stream.write_all(&byte).is_err() {
            return;
        }
    }
}

/// Microseconds of the least median.
fn ask(server: SocketAddr) -> f64 {
    one_core();
    let mut stream = TcpStream::connect(server).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut byte = [7];
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&byte).expect("a question");
        stream.read_exact(&mut byte).expect("an answer");
        times.push(began.elapsed().as_nanos());
    }
    let medians = times.chunks_exact_mut(STRETCH).map(|stretch| {
        stretch.sort_unstable();
        stretch[STRETCH / 2]
    });
    medians.min().unwrap_or_default() as f64 / 1000.0
}
