//! The network of a whole node: node ports without listeners or netfilter, spread over pods, through kills of
//! everything that is ours.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::demo_node::{DemoNode, LOOK, NODE, PATIENCE, within};

const REPLICAS: u32 = 4;
/// With so many a share of 15 to 35 % is certain but for 1 in 10^12.
const CONNECTIONS: u32 = 1_000;
/// One request on a connection that stays.
const ECHO_EVERY: Duration = Duration::from_millis(50);
/// One connection of its own.
const CONNECT_EVERY: Duration = Duration::from_millis(100);
/// The same while pods are replaced.
const UPDATE_EVERY: Duration = Duration::from_millis(20);
const KILLS: usize = 10;
/// What a user may notice of a kill.
const LONGEST_GAP: Duration = Duration::from_millis(300);
/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
const PORT: u16 = 8080;

#[test]
fn node_ports_have_no_listener_and_outlive_us() {
    const TEST: &str = "node_ports_have_no_listener_and_outlive_us";
    if !harness::root_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let node = DemoNode::start(REPLICAS);
    let service = node.json("get service web");
    let cluster: Ipv4Addr =
        service["spec"]["clusterIP"].as_str().expect("an address").parse().expect("an address");
    let cluster = SocketAddr::from((cluster, 80));
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let public = SocketAddr::from((NODE, port.expect("a node port")));

    everyone_gets_a_share(&node, public);
    nobody_listens(&node, public.port());
    no_rules(&node);
    one_port_for_both_ways(&node, cluster);
    kills_are_not_noticed(&node, cluster, public);
    a_rolling_update_is_not_noticed(&node, cluster, public);

    drop(node);
    guard.finish();
}

fn everyone_gets_a_share(node: &DemoNode, public: SocketAddr) {
    let heard = within(&node.outside(), move || {
        let mut heard = BTreeMap::<String, u32>::new();
        for _ in 0..CONNECTIONS {
            *heard.entry(ask_once(public).expect("an answer")).or_default() += 1;
        }
        heard
    })
    .join()
    .expect("answers");
    assert_eq!(heard.len(), REPLICAS as usize, "{heard:?}");
    for (pod, count) in &heard {
        let percent = count * 100 / CONNECTIONS;
        assert!((15..=35).contains(&percent), "{pod} got {percent} %: {heard:?}");
    }
    println!("{CONNECTIONS} connections to {public}: {heard:?}");
}

fn nobody_listens(node: &DemoNode, port: u16) {
    let output = node.on_node("ss").args(["-lntup"]).output().expect("ss runs");
    let listeners = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listeners.contains(":6443"), "ss sees the node's network:\n{listeners}");
    assert!(!listeners.contains(&format!(":{port} ")), "somebody listens on {port}:\n{listeners}");
}

/// The node's rules are those of a network that nobody has touched.
fn no_rules(node: &DemoNode) {
    for words in [&["iptables-save"][..], &["ip6tables-save"], &["nft", "list", "ruleset"], &["ip", "rule"]] {
        let (program, arguments) = words.split_first().expect("a program");
        let here = node.on_node(program).args(arguments).output().expect("it runs");
        let program = (*program).to_owned();
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let there = within(&node.outside(), move || {
            std::process::Command::new(program).args(arguments).output().expect("it runs")
        })
        .join()
        .expect("an output");
        assert!(here.status.success(), "{words:?}: {}", String::from_utf8_lossy(&here.stderr));
        assert_eq!(here.stdout, there.stdout, "{words:?}: {}", String::from_utf8_lossy(&here.stdout));
    }
}

/// A client's port that was used through the Service's address is used again for the pod that had answered.
fn one_port_for_both_ways(node: &DemoNode, cluster: SocketAddr) {
    let pods = node.json("get pods -l app=web");
    let addresses: BTreeMap<String, Ipv4Addr> = pods["items"]
        .as_array()
        .expect("pods")
        .iter()
        .map(|pod| {
            let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
            (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]).parse().expect("an address"))
        })
        .collect();
    within(&a_pods_network(node), move || {
        for port in 40_000..40_008 {
            let pod =
                ask_to_the_end(connect_from(port, cluster).expect("through the Service")).expect("an answer");
            let direct = SocketAddr::from((addresses[&pod], PORT));
            let again =
                ask_to_the_end(connect_from(port, direct).expect("to the pod itself")).expect("an answer");
            assert_eq!(pod, again, "port {port}");
            let back = ask_to_the_end(connect_from(port, cluster).expect("through the Service again"))
                .expect("an answer");
            assert!(addresses.contains_key(&back), "{back}");
        }
    })
    .join()
    .expect("one port works both ways");
}

fn kills_are_not_noticed(node: &DemoNode, cluster: SocketAddr, public: SocketAddr) {
    let stop = Arc::new(AtomicBool::new(false));
    let control = harness::stall::Control::start();
    let (pod, outside) = (a_pods_network(node), node.outside());
    let pods_before = web_processes(node);
    let mut talks = Vec::new();
    for (name, network, address) in
        [("pod to ClusterIP", &pod, cluster), ("outside to NodePort", &outside, public)]
    {
        let (echoing, connecting) = (stop.clone(), stop.clone());
        talks.push((format!("{name}, echo"), within(network, move || echo(address, &echoing))));
        talks.push((format!("{name}, connect"), within(network, move || connect(address, &connecting))));
    }
    for number in 0..KILLS {
        let part = ["node", "control", "keeper"][number % 3];
        wait_for(node, part);
        std::thread::sleep(Duration::from_millis(500));
        node.kill(part);
        std::thread::sleep(Duration::from_millis(500));
    }
    for part in ["node", "control"] {
        wait_for(node, part);
    }
    std::thread::sleep(Duration::from_secs(2));
    stop.store(true, Ordering::SeqCst);
    let machine = control.longest();
    for (name, talk) in talks {
        let (count, gap) = talk.join().expect("a talk").unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {count} answers through {KILLS} kills, longest gap {} ms", gap.as_millis());
        assert!(count > 50, "{name}: {count} answers");
        let limit = LONGEST_GAP + 2 * machine;
        assert!(gap < limit, "{name}: a gap of {} ms, not {}", gap.as_millis(), limit.as_millis());
    }
    assert_eq!(web_processes(node), pods_before, "pods were restarted");
}

/// New pods are ready before old ones go, and old ones serve until nobody is sent to them: not one connection is lost.
fn a_rolling_update_is_not_noticed(node: &DemoNode, cluster: SocketAddr, public: SocketAddr) {
    let must = |line: &str| {
        let output = node.kubectl(line);
        assert!(output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let gently = serde_json::json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}},
        "template": {"spec": {"terminationGracePeriodSeconds": 3,
            "containers": [{"name": "web", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]}}}});
    must(&format!("patch deployment web --patch {gently}"));
    must("rollout status deployment/web --timeout=100s");
    let names = || -> Vec<String> {
        let pods = node.json("get pods -l app=web");
        let items = pods["items"].as_array().expect("pods").iter();
        items.map(|pod| pod["metadata"]["name"].to_string()).collect()
    };
    let before = names();
    let stop = Arc::new(AtomicBool::new(false));
    let own: OwnedFd =
        std::fs::File::open(format!("/proc/{}/ns/net", node.init)).expect("the node's network").into();
    let outside = node.outside();
    let talks = [("node to ClusterIP", &own, cluster), ("outside to NodePort", &outside, public)].map(
        |(name, network, address)| {
            let stop = stop.clone();
            let connect = move || paced(UPDATE_EVERY, &stop, move || ask_once(address).map(drop));
            (name, within(network, connect))
        },
    );
    must("rollout restart deployment/web");
    must("rollout status deployment/web --timeout=100s");
    let began = Instant::now();
    while names().iter().any(|name| before.contains(name)) {
        assert!(began.elapsed() < PATIENCE, "the old pods do not go");
        std::thread::sleep(LOOK);
    }
    stop.store(true, Ordering::SeqCst);
    for (name, talk) in talks {
        let (count, gap) = talk.join().expect("a talk").unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {count} connections through an update, longest {} ms", gap.as_millis());
        assert!(count > 50, "{name}: {count} connections");
    }
}

fn wait_for(node: &DemoNode, part: &str) {
    let began = Instant::now();
    while node.process(part).is_none() {
        assert!(began.elapsed() < PATIENCE, "{part} is not started again");
        std::thread::sleep(LOOK);
    }
}

fn web_processes(node: &DemoNode) -> Vec<i32> {
    let is_web =
        |words: &[String]| words.len() <= 3 && words.get(1).is_some_and(|word| word == "demo-workload");
    let mut found: Vec<i32> =
        node.processes().into_iter().filter(|(_, words)| is_web(words)).map(|(pid, _)| pid).collect();
    found.sort_unstable();
    found
}

/// The network of one of the web servers: a pod that calls its own Service.
fn a_pods_network(node: &DemoNode) -> OwnedFd {
    let pid = *web_processes(node).first().expect("a web server");
    std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("its network").into()
}

/// Requests on one connection; how many, and the longest time between two answers.
fn echo(address: SocketAddr, stop: &AtomicBool) -> std::io::Result<(u32, Duration)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    paced(ECHO_EVERY, stop, move || {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")?;
        read_answer(&mut stream).map(drop)
    })
}

/// Connections one after the other.
fn connect(address: SocketAddr, stop: &AtomicBool) -> std::io::Result<(u32, Duration)> {
    paced(CONNECT_EVERY, stop, move || ask_once(address).map(drop))
}

/// What is beyond the pace counts as a gap.
fn paced(
    every: Duration,
    stop: &AtomicBool,
    mut act: impl FnMut() -> std::io::Result<()>,
) -> std::io::Result<(u32, Duration)> {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        act()?;
        longest = longest.max(began.elapsed());
        count += 1;
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
    Ok((count, longest))
}

fn ask_once(address: SocketAddr) -> std::io::Result<String> {
    ask(TcpStream::connect_timeout(&address, ANSWER)?)
}

/// One request; the pod that answered.
fn ask(stream: TcpStream) -> std::io::Result<String> {
    Ok(ask_on(stream)?.0)
}

/// The same, and waits until the pod has closed the connection: whoever closes first has to wait with its port.
fn ask_to_the_end(stream: TcpStream) -> std::io::Result<String> {
    let (pod, mut stream) = ask_on(stream)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(pod)
}

fn ask_on(mut stream: TcpStream) -> std::io::Result<(String, TcpStream)> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")?;
    let pod = read_answer(&mut stream)?;
    Ok((pod, stream))
}

/// Reads to the end of the body, which is one line.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut answer, mut buffer) = (String::new(), [0; 1024]);
    loop {
        if let Some((_, body)) = answer.split_once("\r\n\r\n")
            && let Some(pod) = body.strip_prefix("hello from ").and_then(|rest| rest.strip_suffix('\n'))
        {
            return Ok(pod.to_owned());
        }
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::Error::other(format!("the connection ended after {answer:?}"))),
            count => answer.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
}

/// A connection from a chosen port, also one that was just used.
fn connect_from(port: u16, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}
