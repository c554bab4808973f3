//! Sockets of the test's own inside of a pod's network, where a pod's programs are not enough: a source port of one's choice, a
//! server that says who asked. Hooks see them as they see a pod's: a free TCP socket is translated when it connects, one that
//! has its port by packet.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Pair;
use crate::machines::Machine;

/// How often a server looks whether the test is over.
const LOOK: Duration = Duration::from_millis(50);

impl Pair {
    /// Runs a closure in a pod's network.
    pub(super) fn within<T: Send>(&self, pod: &str, act: impl FnOnce() -> T + Send) -> T {
        let wanted = self.a.must(&["exec", pod, "--", "readlink", "/proc/self/ns/net"]);
        let is_it = |link: &Path| std::fs::read_link(link).is_ok_and(|is| is == Path::new(wanted.trim()));
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let mut links = processes.map(|process| process.path().join("ns/net")).filter(|link| is_it(link));
        let namespace = links.find_map(|link| File::open(link).ok()).expect("a process of the pod");
        harness::netns::within(&namespace, act)
    }

    /// Waits until a node's maps lead from a frontend to exactly these.
    pub(super) fn leads(&self, machine: &Machine, frontend: &str, scope: &str, backends: &[&str]) {
        let part = if machine.name == self.a.name { "node" } else { "agent-node" };
        machine.until(&format!("{} leads from {frontend} to {backends:?}", machine.name), || {
            let shown = machine.net(part, "services");
            let is_it = |row: &&serde_json::Value| row["frontend"] == frontend && row["scope"] == scope;
            let Some(row) = shown.as_array().into_iter().flatten().find(is_it) else { return false };
            let found = row["backends"].as_array().into_iter().flatten();
            let mut found: Vec<&str> = found.filter_map(serde_json::Value::as_str).collect();
            found.sort_unstable();
            let mut wanted = backends.to_vec();
            wanted.sort_unstable();
            found == wanted
        });
    }

    /// What a Service says of itself.
    pub(super) fn of_service(&self, name: &str, path: &str) -> String {
        self.a.must(&["get", "service", name, "-o", &format!("jsonpath={path}")]).trim().to_owned()
    }
}

/// Answers in a pod, until it is dropped.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Tells whoever connects the server's name and the client's address.
    pub(super) fn of_connections(pair: &Pair, pod: &str, port: u16) -> Server {
        let listener = pair.within(pod, || TcpListener::bind(("0.0.0.0", port))).expect("a listener");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        let name = pod.to_owned();
        Server::start(move || match listener.accept() {
            Ok((mut stream, peer)) => drop(write!(stream, "{name} {}", peer.ip())),
            Err(_) => std::thread::sleep(LOOK),
        })
    }

    /// Tells whoever sends a datagram the server's name, the client's address, how long the datagram was and its first word.
    pub(super) fn of_datagrams(pair: &Pair, pod: &str, port: u16) -> Server {
        let any = if pair.pod_ip(pod).contains(':') { "::" } else { "0.0.0.0" };
        let socket = pair.within(pod, || UdpSocket::bind((any, port))).expect("a socket");
        socket.set_read_timeout(Some(LOOK)).expect("a limit");
        let (name, mut room) = (pod.to_owned(), vec![0; 1 << 16]);
        Server::start(move || {
            let Ok((length, peer)) = socket.recv_from(&mut room) else { return };
            let text = String::from_utf8_lossy(&room[..length.min(32)]).into_owned();
            let word = text.split(' ').next().unwrap_or_default();
            let _ = socket.send_to(format!("{name} {} {length} {word}", peer.ip()).as_bytes(), peer);
        })
    }

    fn start(mut turn: impl FnMut() + Send + 'static) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                turn();
            }
        });
        Server { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One question on a connected socket: the words of the answer to it, if it comes in time.
pub(super) fn ask(socket: &UdpSocket, number: u32, length: usize) -> Option<Vec<String>> {
    let mut question = format!("{number} ").into_bytes();
    question.resize(question.len().max(length), b'.');
    socket.send(&question).ok()?;
    let mut room = [0; 256];
    loop {
        let length = socket.recv(&mut room).ok()?;
        let text = String::from_utf8_lossy(&room[..length]).into_owned();
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        // Not what was asked a while ago.
        if words.last().is_some_and(|word| *word == number.to_string()) {
            return Some(words);
        }
    }
}

/// A datagram socket, connected; where it is made is whose it is.
pub(super) fn connected(from: u16, to: SocketAddr, patience: Duration) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let socket = UdpSocket::bind((any, from)).expect("a socket");
    socket.connect(to).expect("a peer");
    socket.set_read_timeout(Some(patience)).expect("a limit");
    socket
}

/// A connection of IPv4 from a socket that has its source port before it asks: its packets are translated, not its call.
pub(super) fn by_packet(to: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    match connect(&socket, &to) {
        Ok(()) => Ok(TcpStream::from(socket)),
        Err(rustix::io::Errno::INPROGRESS) => Err(std::io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
}
