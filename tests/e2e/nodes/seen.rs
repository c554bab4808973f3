//! `keelson flows -f` beside a Service that is used: who asked for what, and what the packet became.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Pair;
use super::within::by_packet;
use crate::machines::{KEELSON, Machine, PATIENCE};

/// How long a line is waited for before the connection is made once more: whoever has just begun to follow may miss the first.
const LINE: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(30);

/// One that follows, until it is dropped.
struct Follower {
    process: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(machine: &Machine, flags: &[&str]) -> Follower {
        let mut command = machine.host.command(KEELSON);
        command.args(["flows", "-f", "--last", "0"]).arg("--state-dir").arg(machine.path("run")).args(flags);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("keelson flows runs");
        let out = BufReader::new(process.stdout.take().expect("its output"));
        let (told, lines) = channel();
        // Ends with the process.
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Follower { process, lines }
    }

    /// Does it until a line comes that will do.
    fn until(&self, what: &str, mut act: impl FnMut(), holds: impl Fn(&str) -> bool) {
        let (began, mut heard) = (Instant::now(), Vec::new());
        loop {
            act();
            while let Ok(line) = self.lines.recv_timeout(LINE) {
                if holds(&line) {
                    return;
                }
                heard.push(line);
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {heard:#?}");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pod's connection to a Service of its own node and to one of the other node, and one from outside to a node port.
pub(super) fn translation_is_told(pair: &Pair) {
    let call = |to: SocketAddr| drop(by_packet(to, ANSWER).expect("a connection"));
    let client = format!("{}:", pair.pod_ip("client-a"));
    let address = |flow: &Value, end: &str| flow[end]["address"].as_str().unwrap_or_default().to_owned();
    let follower = Follower::start(&pair.a, &["--protocol", "TCP", "-o", "json"]);
    for server in ["web-a", "web-b"] {
        let service = format!("{}:80", pair.of_service(server, "{.spec.clusterIP}"));
        let backend = format!("{}:8080", pair.pod_ip(server));
        let to: SocketAddr = service.parse().expect("an address");
        let is_it = |line: &str| {
            let flow: Value = serde_json::from_str(line).expect("JSON");
            // Who a pod is, a node knows of its own pods.
            let named = server == "web-b"
                || (flow["to_destination"]["name"]["pod"] == server
                    && flow["to_destination"]["name"]["namespace"] == "default");
            flow["verdict"] == "FORWARDED"
                && flow["is_reply"] == false
                && flow["flags"] == "SYN"
                && flow["source"]["name"]["pod"] == "client-a"
                && address(&flow, "source").starts_with(&client)
                && address(&flow, "destination") == service
                && address(&flow, "to_destination") == backend
                && named
        };
        follower.until(server, || pair.within("client-a", || call(to)), is_it);
    }
    let number = pair.of_service("web-b", "{.spec.ports[0].nodePort}");
    let public = format!("{}:{number}", pair.a.address());
    let backend = format!("{}:8080", pair.pod_ip("web-b"));
    let to: SocketAddr = public.parse().expect("an address");
    let is_it = |line: &str| {
        let flow: Value = serde_json::from_str(line).expect("JSON");
        let hidden = address(&flow, "to_source");
        flow["flags"] == "SYN"
            && address(&flow, "destination") == public
            && address(&flow, "to_destination") == backend
            && !hidden.is_empty()
            && hidden != address(&flow, "source")
    };
    follower.until("from outside", || pair.switch.host.inside(|| call(to)), is_it);
    drop(follower);
    // For people, and by the pod that it became.
    let follower = Follower::start(&pair.a, &["--from-pod", "client-a", "--to-port", "80"]);
    let service = pair.of_service("web-a", "{.spec.clusterIP}");
    let told = format!(" -> {service}:80 (default/web-a:8080) FORWARDED (TCP Flags: SYN)");
    let to: SocketAddr = format!("{service}:80").parse().expect("an address");
    follower.until(
        "one line",
        || pair.within("client-a", || call(to)),
        |line| line.contains(": default/client-a:") && line.ends_with(&told),
    );
}
