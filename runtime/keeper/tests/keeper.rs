//! The keeper as a process: launches, ends, lists, faults, garbage, and deaths on either side.

extern crate keelson_keeper as keeper;

#[path = "support/client.rs"]
mod client;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/runner.rs"]
mod runner;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::{Bench, Client, launch, name};
use keeper_api::{Adopt, Body, Call, ChannelError, FailureKind, Stage, Status, Stream};

fn main() -> ExitCode {
    if let Some(code) = plain::dispatch() {
        return code;
    }
    if !harness::root_or_skip("keeper") {
        return ExitCode::SUCCESS;
    }
    runner::run(&[
        ("ends_are_told_and_kept", ends_are_told_and_kept),
        ("an_end_may_be_seen_before_the_keeper_sees_it", an_end_may_be_seen_before_the_keeper_sees_it),
        ("every_fault_leaves_nothing", every_fault_leaves_nothing),
        ("a_client_that_dies_mid_launch_starts_nothing", a_client_that_dies_mid_launch_starts_nothing),
        ("tied_processes_die_with_their_client", tied_processes_die_with_their_client),
        ("a_restarted_daemon_gets_everything_back", a_restarted_daemon_gets_everything_back),
        ("terminals_are_kept", terminals_are_kept),
        ("input_ends_when_it_is_released", input_ends_when_it_is_released),
        ("descriptors_are_stored", descriptors_are_stored),
        ("another_keeper_adopts", another_keeper_adopts),
        ("one_keeper_per_state", one_keeper_per_state),
        ("garbage_is_cut_off", garbage_is_cut_off),
        ("a_client_that_never_reads_harms_nobody", a_client_that_never_reads_harms_nobody),
        ("upgrade_in_place", upgrade_in_place),
        ("its_file_is_out_of_reach", its_file_is_out_of_reach),
        ("a_quiet_keeper_gives_back_what_a_launch_touched", a_quiet_keeper_gives_back_what_a_launch_touched),
        ("five_hundred_processes", five_hundred_processes),
    ])
}

fn kind(body: Body) -> FailureKind {
    let Body::Failed(failure) = body else { panic!("{body:?}") };
    failure.kind
}

fn ends_are_told_and_kept() {
    let bench = Bench::start();
    let mut client = bench.client();
    for (id, script, status) in [
        ("zero", "exit 0", Status::Exited(0)),
        ("code", "exit 42", Status::Exited(42)),
        ("kill", "kill -9 $$", Status::Signalled(9)),
    ] {
        client.run(id, &["sh", "-c", script]).expect("launches");
        assert_eq!(client.exited(id).status, status, "{id}");
    }
    let sleeper = client.run("sleep", &["sleep", "600"]).expect("launches");
    assert_eq!(client.run("sleep", &["true"]).expect_err("a name twice").kind, FailureKind::Exists);
    assert_eq!(kind(client.forget("sleep")), FailureKind::Busy);
    assert_eq!(kind(client.forget("nobody")), FailureKind::UnknownId);
    let stages: Vec<(String, bool)> = client
        .list()
        .iter()
        .map(|(entry, _)| (entry.id.to_string(), matches!(entry.stage, Stage::Ended(_))))
        .collect();
    assert_eq!(
        stages,
        [("code", true), ("kill", true), ("sleep", false), ("zero", true)].map(|(n, e)| (n.to_owned(), e))
    );
    sys::exit::kill(sleeper.pidfd.as_fd()).expect("killed");
    assert_eq!(client.exited("sleep").status, Status::Signalled(9));
    for id in ["zero", "code", "kill", "sleep"] {
        assert_eq!(client.forget(id), Body::Done);
    }
    assert!(client.list().is_empty());
    assert_eq!(children(client.keeper), Vec::<i32>::new(), "all reaped");
}

/// The question is there before the end, so the keeper reads it first; whoever asks has seen both.
fn an_end_may_be_seen_before_the_keeper_sees_it() {
    let bench = Bench::start();
    let mut client = bench.client();
    let sleeper = client.run("sleep", &["sleep", "600"]).expect("launches");
    let keeper = rustix::process::Pid::from_raw(client.keeper).expect("a PID");
    rustix::process::kill_process(keeper, rustix::process::Signal::STOP).expect("it stops");
    let begun = Instant::now();
    while sys::process::stat(client.keeper).is_none_or(|(state, _)| state != 'T') {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not stop");
    }
    client.ask(&Call::Forget { id: name("sleep") }, &[]);
    client::kill_and_see(sleeper.pidfd.as_fd());
    rustix::process::kill_process(keeper, rustix::process::Signal::CONT).expect("it goes on");
    assert_eq!(client.answer().expect("answers").0, Body::Done);
    assert_eq!(client.exited("sleep").status, Status::Signalled(9));
    assert!(client.list().is_empty());
    assert_eq!(children(client.keeper), Vec::<i32>::new(), "it is reaped");
}

fn every_fault_leaves_nothing() {
    let bench = Bench::start();
    let mut client = bench.client();
    let before = descriptors(client.keeper);
    for fault in plain::FAULTS {
        let failure = client.run("faulty", &[fault]).expect_err("fails");
        assert!(matches!(failure.kind, FailureKind::Launch { .. }), "{fault}: {failure:?}");
        assert!(client.list().is_empty(), "{fault}");
        assert_eq!(children(client.keeper), Vec::<i32>::new(), "{fault}");
        assert_eq!(descriptors(client.keeper), before, "{fault}: descriptors of the keeper");
        assert!(client.events.is_empty(), "{fault}: no end of what never was");
    }
    client.run("faulty", &["true"]).expect("the name is free and the keeper well");
}

fn a_client_that_dies_mid_launch_starts_nothing() {
    let bench = Bench::start();
    let marker = bench.folder.path().join("ran");
    let mut dying = bench.client();
    let null = File::options().read(true).write(true).open("/dev/null").expect("opens");
    let (gate, opener) = std::io::pipe().expect("a pipe");
    let plan = client::plan(&["touch", marker.to_str().expect("text")]);
    let fds = [plan.as_fd(), null.as_fd(), null.as_fd(), null.as_fd(), gate.as_fd()];
    let (body, pidfds) = dying.call(&Call::Launch(launch("early")), &fds);
    let Body::AtGate { .. } = body else { panic!("{body:?}") };
    drop((dying, opener, gate));
    let poll = sys::poll::Poll::new().expect("epoll");
    poll.add(&pidfds[0], 0, sys::poll::Interest::Read).expect("added");
    poll.wait(None).expect("it ends");
    let mut client = bench.client();
    assert!(client.list().is_empty(), "and is forgotten");
    assert!(!marker.exists());
}

fn tied_processes_die_with_their_client() {
    let bench = Bench::start();
    let mut dying = bench.client();
    let null = File::options().read(true).write(true).open("/dev/null").expect("opens");
    let stdio = [null.as_fd(); 3];
    let tied = keeper_api::Launch { tied: true, ..launch("tied") };
    let tied = dying.launch(tied, &["sleep", "600"], stdio, &[]).expect("launches");
    let free = dying.run("free", &["sleep", "600"]).expect("launches");
    let mut watcher = bench.client();
    drop(dying);
    assert_eq!(watcher.exited("tied").status, Status::Signalled(9));
    let left: Vec<String> = watcher.list().iter().map(|(entry, _)| entry.id.to_string()).collect();
    assert_eq!(left, ["free"]);
    assert_eq!(sys::exit::observe(tied.pidfd.as_fd(), tied.pid), sys::exit::Observed::Ended(9));
    sys::exit::kill(free.pidfd.as_fd()).expect("killed");
}

fn a_restarted_daemon_gets_everything_back() {
    let bench = Bench::start();
    let pipe = bench.folder.path().join("out");
    sys::fifo::create(&pipe).expect("made");
    let mut first = bench.client();
    {
        let out = sys::fifo::open_for_writer(&pipe).expect("opens");
        let null = File::open("/dev/null").expect("opens");
        let held = sys::fifo::Fifo::open(&pipe).expect("opens").share();
        let wish = keeper_api::Launch { held: vec![Stream::Stdout], ..launch("talker") };
        let stdio = [null.as_fd(), out.as_fd(), null.as_fd()];
        first.launch(wish, &["sh", "-c", "echo said; exit 7"], stdio, &[held.as_fd()]).expect("launches");
    }
    assert_eq!(first.exited("talker").status, Status::Exited(7));
    drop(first);
    // Nobody but the keeper holds the pipe now.
    let mut second = bench.client();
    let list = second.list();
    let (entry, fds) = &list[0];
    assert!(matches!(entry.stage, Stage::Ended(exit) if exit.status == Status::Exited(7)));
    assert_eq!((entry.held.as_slice(), fds.len()), (&[Stream::Stdout][..], 2));
    let mut text = [0; 5];
    File::from(fds[1].try_clone().expect("copied")).read_exact(&mut text).expect("bytes wait");
    assert_eq!(&text, b"said\n");
}

fn terminals_are_kept() {
    let bench = Bench::start();
    let mut first = bench.client();
    let null = File::options().read(true).write(true).open("/dev/null").expect("opens");
    let wish = keeper_api::Launch { tty: true, ..launch("tty") };
    let script = "tty; stty size; read line; echo got $line";
    let launched = first.launch(wish, &["sh", "-c", script], [null.as_fd(); 3], &[]).expect("launches");
    let master = launched.pty.expect("a terminal");
    sys::pty::set_size(&master, 100, 30).expect("sized");
    drop((master, first));
    let mut second = bench.client();
    let (entry, fds) = second.list().remove(0);
    assert!(entry.pty);
    let mut master = File::from(fds.into_iter().nth(1).expect("pidfd and terminal"));
    master.write_all(b"hello\n").expect("typed");
    assert_eq!(second.exited("tty").status, Status::Exited(0));
    let (mut text, mut buffer) = (Vec::new(), [0; 512]);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("/dev/pts/") && text.contains("got hello\r\n"), "{text:?}");
}

fn input_ends_when_it_is_released() {
    let bench = Bench::start();
    let pipe = bench.folder.path().join("in");
    sys::fifo::create(&pipe).expect("made");
    let mut client = bench.client();
    let (reader, feeder) = sys::fifo::open_for_reader(&pipe).expect("opens");
    let null = File::options().read(true).write(true).open("/dev/null").expect("opens");
    let wish = keeper_api::Launch { held: vec![Stream::Stdin], ..launch("cat") };
    let stdio = [reader.as_fd(), null.as_fd(), null.as_fd()];
    client.launch(wish, &["cat"], stdio, &[feeder.as_fd()]).expect("launches");
    drop((reader, feeder));
    assert!(client.events.is_empty());
    let release = Call::Release { id: name("cat"), stream: Stream::Stdin };
    assert_eq!(client.call(&release, &[]).0, Body::Done);
    assert_eq!(client.exited("cat").status, Status::Exited(0));
}

fn descriptors_are_stored() {
    let bench = Bench::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound");
    let mut first = bench.client();
    let store = Call::StoreFd { name: "stream".into() };
    assert_eq!(first.call(&store, &[listener.as_fd()]).0, Body::Done);
    assert_eq!(kind(first.call(&store, &[]).0), FailureKind::Request, "nothing to store");
    drop((first, listener));
    let waiting = std::net::TcpStream::connect(address).expect("queued, not refused");
    let mut second = bench.client();
    let take = Call::TakeFds { name: "stream".into() };
    let (body, fds) = second.call(&take, &[]);
    assert_eq!((body, fds.len()), (Body::Fds, 1));
    let listener = std::net::TcpListener::from(fds.into_iter().next().expect("one"));
    listener.accept().expect("who waited is served");
    drop(waiting);
    assert_eq!(second.call(&Call::DropFds { name: "stream".into() }, &[]).0, Body::Done);
    assert!(second.call(&take, &[]).1.is_empty());
}

/// The keeper dies; its processes live; a daemon hands them to the next one, which tells their ends.
fn another_keeper_adopts() {
    let bench = Bench::start();
    let mut old = bench.client();
    let dead = old.run("dead", &["sh", "-c", "read x < /dev/zero; exit 1"]).expect("launches");
    let live = old.run("live", &["sleep", "600"]).expect("launches");
    client::kill(old.keeper);
    assert!(matches!(old.receive(), Err(ChannelError::Closed)), "the daemon is told");
    client::kill(dead.pid);
    bench.start_keeper();
    let mut new = bench.client();
    assert_ne!(new.keeper, old.keeper);
    assert!(new.list().is_empty());
    for (id, process) in [("dead", &dead), ("live", &live)] {
        let adopt = Adopt {
            id: name(id),
            pid: process.pid,
            started_at_nanoseconds: 1,
            pty: false,
            held: vec![],
            tied: false,
        };
        assert_eq!(new.call(&Call::Adopt(adopt.clone()), &[process.pidfd.as_fd()]).0, Body::Done);
        assert_eq!(new.call(&Call::Adopt(adopt), &[process.pidfd.as_fd()]).0, Body::Done, "twice is fine");
    }
    assert_eq!(new.exited("dead").status, Status::Signalled(9), "ended before it was adopted");
    assert!(matches!(new.list()[1].0.stage, Stage::Running));
    sys::exit::kill(live.pidfd.as_fd()).expect("killed");
    assert_eq!(new.exited("live").status, Status::Signalled(9), "ended after it was adopted");
}

fn one_keeper_per_state() {
    let bench = Bench::start();
    let client = bench.client();
    bench.start_keeper();
    assert_eq!(bench.client().keeper, client.keeper, "the second one left it to the first");
    let lock = std::fs::read_to_string(bench.folder.path().join("keeper.lock")).expect("a lock");
    assert_eq!(lock, format!("{}\n", client.keeper));
    let mode = bench.socket().metadata().expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn garbage_is_cut_off() {
    let bench = Bench::start();
    let mut good = bench.client();
    for bytes in [&[0u8][..], &[1, 1, 250], &[200, 200, 3], &vec![1; keeper_api::MAX_MESSAGE + 1]] {
        let conn = sys::seqpacket::Conn::connect(&bench.socket()).expect("connects");
        conn.send(bytes, &[]).expect("sends");
        let poll = sys::poll::Poll::new().expect("epoll");
        poll.add(&conn, 0, sys::poll::Interest::Read).expect("added");
        poll.wait(None).expect("waits");
        let answer = conn.receive(&mut [0; 64]).map(|received| received.length);
        assert!(!matches!(answer, Ok(1..)), "{answer:?}");
    }
    let silent = keeper_api::Channel::connect(&bench.socket()).expect("connects");
    silent.send(1, &Call::List { after: None }, &[]).expect("sends");
    let poll = sys::poll::Poll::new().expect("epoll");
    poll.add(&silent, 0, sys::poll::Interest::Read).expect("added");
    poll.wait(None).expect("waits");
    let (packet, _) = silent.receive::<Body>(&mut Vec::new()).expect("an answer");
    assert_eq!(kind(packet.body), FailureKind::Request, "hello comes first");
    let (body, _) = good.call(&Call::Launch(launch("x")), &[]);
    assert_eq!(kind(body), FailureKind::Request, "descriptors are missing");
    good.run("x", &["true"]).expect("the keeper is well");
}

/// A client that asks and asks and never reads is cut off; the keeper stays small.
fn a_client_that_never_reads_harms_nobody() {
    let bench = Bench::start();
    let mut good = bench.client();
    let greedy = bench.client();
    let flood =
        (0..200_000u64).find_map(|n| greedy.channel.send(n + 2, &Call::List { after: None }, &[]).err());
    assert!(matches!(flood, Some(ChannelError::Closed | ChannelError::WouldBlock)), "{flood:?}");
    assert!(good.list().is_empty(), "others are served");
    let clients: Vec<_> =
        (0..20).map(|_| keeper_api::Channel::connect(&bench.socket()).expect("connects")).collect();
    assert!(good.list().is_empty(), "others are served");
    drop((clients, greedy));
    bench.client();
}

fn upgrade_in_place() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.run("ended", &["sh", "-c", "exit 3"]).expect("launches");
    client.exited("ended");
    let live = client.run("live", &["sleep", "600"]).expect("launches");
    let socket = File::open("/dev/null").expect("opens");
    client.call(&Call::StoreFd { name: "s".into() }, &[socket.as_fd()]);
    let mut other = bench.client();
    let text = File::open("/etc/hostname").or_else(|_| File::open("/etc/passwd")).expect("a file");
    let refused = client.call(&Call::Upgrade, &[text.as_fd()]).0;
    assert!(matches!(kind(refused), FailureKind::System { .. }), "no executable: it goes on");
    let image = File::open("/proc/self/exe").expect("opens");
    let before = descriptors(client.keeper);
    for _ in 0..2 {
        assert_eq!(client.call(&Call::Upgrade, &[image.as_fd()]).0, Body::Done, "on the same connection");
        assert_eq!(descriptors(client.keeper), before, "nothing leaks");
    }
    assert_eq!(client.call(&Call::TakeFds { name: "s".into() }, &[]).1.len(), 1);
    let stages: Vec<bool> = other.list().iter().map(|(e, _)| matches!(e.stage, Stage::Running)).collect();
    assert_eq!(stages, [false, true]);
    sys::exit::kill(live.pidfd.as_fd()).expect("killed");
    assert_eq!(other.exited("live").status, Status::Signalled(9), "still the parent");
    assert_eq!(children(client.keeper), Vec::<i32>::new());
    bench.start_keeper();
    assert_eq!(bench.client().keeper, client.keeper, "the lock was kept");
}

/// CVE-2019-5736: what a container reaches through /proc/PID/exe of our child cannot be opened for writing.
fn its_file_is_out_of_reach() {
    let bench = Bench::start();
    let mut client = bench.client();
    let pid = client.keeper;
    // Opening it for writing says ETXTBSY as long as it runs; only a read-only mount (or a seal) says no for ever.
    let out_of_reach = || {
        let exe = format!("/proc/{pid}/exe");
        let mount = rustix::fs::statvfs(&exe).expect("is there");
        let sealed = || File::open(&exe).is_ok_and(sys::memfd::is_sealed);
        mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) || sealed()
    };
    assert!(out_of_reach(), "started");
    let image = File::open("/proc/self/exe").expect("opens");
    assert_eq!(client.call(&Call::Upgrade, &[image.as_fd()]).0, Body::Done);
    assert!(out_of_reach(), "upgraded");
}

fn a_quiet_keeper_gives_back_what_a_launch_touched() {
    let bench = Bench::start();
    let mut client = bench.client();
    // One round is enough, unless this test is stopped between its launch and its look.
    let fell = (0..5).any(|round| {
        client.run(&format!("p{round}"), &["sleep", "600"]).expect("launches");
        let touched = kibibytes(client.keeper, "RssFile:");
        let began = Instant::now();
        let mut looks = std::iter::from_fn(|| {
            std::thread::sleep(Duration::from_millis(50));
            (began.elapsed() < Duration::from_secs(10)).then(|| kibibytes(client.keeper, "RssFile:"))
        });
        looks.any(|now| now * 2 < touched)
    });
    assert!(fell, "{} KiB of its file", kibibytes(client.keeper, "RssFile:"));
}

fn five_hundred_processes() {
    const COUNT: usize = 500;
    let bench = Bench::start();
    let mut client = bench.client();
    let empty = kibibytes(client.keeper, "VmRSS:");
    let began = Instant::now();
    let all: Vec<_> =
        (0..COUNT).map(|n| client.run(&format!("p{n}"), &["sleep", "600"]).expect("launches")).collect();
    let each = began.elapsed() / COUNT as u32;
    let full = kibibytes(client.keeper, "VmRSS:");
    assert_eq!(client.list().len(), COUNT);
    let began = Instant::now();
    for process in &all {
        sys::exit::kill(process.pidfd.as_fd()).expect("killed");
    }
    for n in 0..COUNT {
        assert_eq!(client.exited(&format!("p{n}")).status, Status::Signalled(9));
    }
    println!(
        "keeper: {empty} KiB resident empty, {full} KiB with {COUNT} processes; {each:?} per plain launch; \
         {:?} until all ends were told",
        began.elapsed()
    );
    assert!(full < 4096, "{full} KiB");
}

/// A line of /proc/PID/status: what is resident (VmRSS), or of that what is its file's (RssFile).
fn kibibytes(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("runs");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a process with memory");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("runs");
    list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("runs").count()
}

/// Silences the compiler about what only some tests of a support file use.
#[allow(dead_code)]
fn unused(client: &Client) -> i32 {
    client.channel.as_raw_fd()
}
