//! SCTP as a kernel speaks it: associations of pods, which policies judge by their ports. Skipped where the kernel has no SCTP.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use harness::netns::TestHost;
use keelson_datapath::{Allowed, Counter, Direction, Isolation, Ports};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::node::{Node, PATIENCE, POD_A, POD_B, SILENCE, Server, question, question_within};
use super::policies::{CLIENT, WEB, isolate};

const SCTP: u8 = 132;
/// Diameter.
const PORT: u16 = 3_868;

/// A socket of one association, which is used like TCP's.
fn socket() -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::SCTP))
}

fn listening(host: &TestHost, port: u16) -> TcpListener {
    host.inside(|| {
        let socket = socket().expect("a socket");
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).expect("a port");
        rustix::net::listen(&socket, 16).expect("listening");
        TcpListener::from(socket)
    })
}

fn connect(host: &TestHost, to: (Ipv4Addr, u16), patience: Duration) -> std::io::Result<TcpStream> {
    host.inside(|| {
        let socket = socket()?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
        rustix::net::connect(&socket, &SocketAddr::from(to))?;
        Ok(TcpStream::from(socket))
    })
}

fn ask(host: &TestHost, to: (Ipv4Addr, u16)) -> Result<String, String> {
    question(&mut connect(host, to, PATIENCE).map_err(|error| error.to_string())?)
}

fn is_silent(host: &TestHost, to: (Ipv4Addr, u16)) -> bool {
    connect(host, to, SILENCE).is_err()
}

#[test]
fn associations_do_what_policies_allow() {
    const TEST: &str = "associations_do_what_policies_allow";
    if !harness::root_or_skip(TEST) {
        return;
    }
    if socket().is_err_and(|error| error == rustix::io::Errno::PROTONOSUPPORT) {
        return harness::skip(TEST, "this kernel has no SCTP");
    }
    let guard = harness::host::exclusive(TEST);
    let node = Node::make(guard.tag(), None);
    let servers = [PORT, PORT + 1].map(|port| Server::of(listening(&node.b.host, port), "b"));
    let mut policies = node.datapath.policies().unwrap();
    policies.name("10.244.0.11/32".parse().unwrap(), CLIENT).unwrap();
    let answer = ask(&node.a.host, (POD_B, PORT)).expect("before any policy");
    assert!(answer.starts_with(&format!("b {POD_A}:")), "{answer}");
    ask(&node.outside, (POD_B, PORT)).expect("from outside");

    let what = Ports::Of { protocol: SCTP, first: PORT, bits: 16 };
    let allowed = Allowed { subject: WEB, peer: CLIENT, direction: Direction::Ingress, what };
    policies.allow(&allowed).unwrap();
    isolate(&node, Isolation { ingress: true, egress: false });
    let mut stands = connect(&node.a.host, (POD_B, PORT), PATIENCE).expect("the port that is allowed");
    question(&mut stands).expect("an answer");
    assert!(is_silent(&node.a.host, (POD_B, PORT + 1)), "another port");
    assert!(is_silent(&node.outside, (POD_B, PORT)), "somebody else");
    assert!(node.datapath.counters().unwrap().get(Counter::PolicyIngress) > 0, "and counted");

    policies.withdraw(&allowed).unwrap();
    node.datapath.judge_flows_again().unwrap();
    let cut = question_within(&mut stands, SILENCE);
    assert!(cut.is_err(), "an association that stands follows the policy: {cut:?}");
    // What was asked in vain is sent again by the kernel.
    policies.allow(&allowed).unwrap();
    node.datapath.judge_flows_again().unwrap();
    assert!((0..3).any(|_| question(&mut stands).is_ok()), "and goes on with it");
    drop((servers, policies));
    node.finish();
    guard.finish();
}
