//! Client and server: processes of this same executable, in the namespaces of a bed, on one core.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::netns::TestHost;

use super::rules::PORT;

const ROLE: &str = "KEELSON_BENCH_ROLE";
/// After so many errors there is nothing to be measured.
const ERRORS_MAX: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// One byte and its answer, again and again.
    TcpRr,
    /// The same with a connection each.
    TcpCrr,
    UdpRr,
}

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub median_microseconds: f64,
    pub count: u64,
    pub errors: u64,
}

/// What this process is to be, if it is not the benchmark itself.
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

pub fn play(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match words.as_slice() {
        ["server"] => serve(),
        ["client", talk, to, seconds] => {
            let talk = match *talk {
                "TcpRr" => Talk::TcpRr,
                "TcpCrr" => Talk::TcpCrr,
                _ => Talk::UdpRr,
            };
            let to: SocketAddr = to.parse().expect("an address");
            let told = ask(talk, to, Duration::from_secs_f64(seconds.parse().expect("seconds")));
            println!("{} {} {}", told.median_microseconds, told.count, told.errors);
        }
        other => panic!("no such role: {other:?}"),
    }
}

/// The core that everything is measured on: the last one.
fn pinned(host: &TestHost, role: &str) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let own = std::env::current_exe().expect("this executable");
    let mut command = host.command("taskset");
    command.args(["-c", &(cores - 1).to_string()]).arg(own).env(ROLE, role);
    command
}

/// A server that runs until it is killed.
pub fn server(host: &TestHost) -> Child {
    pinned(host, "server").stdin(Stdio::null()).spawn().expect("starting a server")
}

/// Calls for a while from a namespace; `cgroup` is entered first.
pub fn call(host: &TestHost, talk: Talk, to: SocketAddr, length: Duration, cgroup: Option<&str>) -> Told {
    let role = format!("client {talk:?} {to} {}", length.as_secs_f64());
    let mut command = pinned(host, &role);
    if let Some(cgroup) = cgroup {
        command.env("KEELSON_BENCH_CGROUP", cgroup);
    }
    let output = command.stderr(Stdio::null()).output().expect("starting a client");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let mut next = || words.next().unwrap_or("0");
    Told {
        median_microseconds: next().parse().unwrap_or(0.0),
        count: next().parse().unwrap_or(0),
        errors: next().parse().unwrap_or(0),
    }
}

fn ask(talk: Talk, to: SocketAddr, length: Duration) -> Told {
    if let Ok(cgroup) = std::env::var("KEELSON_BENCH_CGROUP") {
        std::fs::write(format!("{cgroup}/cgroup.procs"), std::process::id().to_string()).expect("a cgroup");
    }
    let mut times: Vec<f64> = Vec::with_capacity(1 << 20);
    let mut errors = 0;
    let end = Instant::now() + length;
    let mut line = None;
    while Instant::now() < end && errors < ERRORS_MAX {
        let begun = Instant::now();
        let opened = line.take().map_or_else(|| Line::open(talk, to), Ok);
        match opened.and_then(|mut open| open.transact().map(|()| open)) {
            Ok(open) => {
                if talk != Talk::TcpCrr {
                    line = Some(open);
                } else {
                    drop(open);
                }
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Err(_) => errors += 1,
        }
    }
    if times.is_empty() {
        return Told { errors, ..Told::default() };
    }
    let count = times.len() as u64;
    times.sort_by(f64::total_cmp);
    Told { median_microseconds: times[times.len() / 2], count, errors }
}

enum Line {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Line {
    fn open(talk: Talk, to: SocketAddr) -> std::io::Result<Line> {
        if talk == Talk::UdpRr {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            return Ok(Line::Udp(socket));
        }
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        // A connection that was set up with a time limit is one that does not block.
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Line::Tcp(stream))
    }

    fn transact(&mut self) -> std::io::Result<()> {
        let mut byte = [0];
        match self {
            Line::Tcp(stream) => {
                stream.write_all(&byte)?;
                stream.read_exact(&mut byte)
            }
            Line::Udp(socket) => {
                socket.send(&byte)?;
                socket.recv(&mut byte).map(drop)
            }
        }
    }
}

/// Sends everything back, to as many as come, in one thread.
fn serve() {
    use rustix::event::epoll;
    let any = (Ipv4Addr::UNSPECIFIED, PORT);
    let (listener, socket) =
        (TcpListener::bind(any).expect("listening"), UdpSocket::bind(any).expect("binding"));
    listener.set_nonblocking(true).expect("a listener");
    socket.set_nonblocking(true).expect("a socket");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let add = |fd: &dyn std::os::fd::AsFd, data: u64| {
        let data = epoll::EventData::new_u64(data);
        epoll::add(&poll, fd.as_fd(), data, epoll::EventFlags::IN).expect("watching a descriptor");
    };
    add(&listener, 0);
    add(&socket, 1);
    let mut streams: std::collections::HashMap<u64, TcpStream> = std::collections::HashMap::new();
    let (mut next, mut bytes) = (2, vec![0; 1 << 16]);
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).expect("waiting");
        for event in &events {
            match event.data.u64() {
                0 => {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    let _ = stream.set_nodelay(true);
                    stream.set_nonblocking(true).expect("a stream");
                    add(&stream, next);
                    streams.insert(next, stream);
                    next += 1;
                }
                1 => {
                    if let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                        let _ = socket.send_to(&bytes[..length], peer);
                    }
                }
                number => {
                    let Some(stream) = streams.get_mut(&number) else { continue };
                    let ended = match stream.read(&mut bytes) {
                        Ok(0) => true,
                        Ok(length) => stream.write_all(&bytes[..length]).is_err(),
                        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                    };
                    if ended {
                        streams.remove(&number);
                    }
                }
            }
        }
    }
}
