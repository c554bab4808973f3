//! Streams of one container: logs, rotation, attach, terminals, speed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use cri::io::{AttachError, ContainerIo, IoOptions};
use keelson_cri as cri;
use streaming::{Stdio, TerminalSize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::bench::{Bench, Daemon, block_on, eventually, name, text};
use super::roles::line;

const OURSELVES: &str = "/proc/self/exe";

pub fn output_is_logged_and_ends_are_known() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let long = "x".repeat(40_000);
        let script = format!("echo out; echo err >&2; echo {long}; printf 'no end'; exit 42");
        let (io, running) = daemon.launch(daemon.io_options("c"), &["sh", "-c", &script]).await;
        assert!(running.pid > 0 && running.started_at_nanoseconds > 0);
        let (code, text) = daemon.finish("c", &io).await;
        assert_eq!(code, 42);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["err", "no end", "out", &long]);
        let raw = std::fs::read_to_string(daemon.log_path("c")).expect("a log");
        assert!(raw.contains(" stderr F err\n") && raw.contains(" stdout P no end\n"), "{raw}");
        assert_eq!(daemon.processes.exited(&name("c")).await.code(), 42, "again");
        io.close().await;
        assert!(!bench.state().join("io/c").exists());
        daemon.processes.forget(&name("c")).await;
        assert!(daemon.processes.list().await.is_empty());
        assert!(!daemon.processes.exited(&name("c")).await.known());
        assert_eq!(std::fs::read_dir(bench.state().join("processes")).expect("reads").count(), 0);
    });
}

pub fn a_log_is_rotated_without_a_gap() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let (io, _) =
            daemon.launch(daemon.io_options("c"), &[OURSELVES, "count", "0", "20000", "8000", "0"]).await;
        let (log, old) = (daemon.log_path("c"), daemon.log_path("old"));
        eventually("it says something", || log.metadata().is_ok_and(|log| log.len() > 10_000));
        std::fs::rename(&log, &old).expect("renamed");
        io.reopen_log().await.expect("reopened");
        let (_, new) = daemon.finish("c", &io).await;
        let all = text(&old) + &new;
        assert!(all.lines().map(str::to_owned).eq((0..20_000).map(line)), "every line once");
        assert!(!new.is_empty());
    });
}

/// A client with its far ends.
fn client(
    stdin: bool,
    tty: bool,
) -> (Stdio, DuplexStream, DuplexStream, tokio::sync::mpsc::Sender<TerminalSize>) {
    let (near_in, far_in) = duplex(64);
    let (near_out, far_out) = duplex(1024);
    let (resize, sizes) = tokio::sync::mpsc::channel(4);
    let stdio = Stdio {
        stdin: stdin.then_some(Box::new(far_in) as _),
        stdout: Some(Box::new(far_out)),
        stderr: (!tty).then(|| Box::new(tokio::io::sink()) as _),
        resize: sizes,
        hangup: Default::default(),
    };
    (stdio, near_in, near_out, resize)
}

async fn read_until(from: &mut DuplexStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 512];
    while !text.contains(wanted) {
        let count = from.read(&mut piece).await.expect("reads");
        assert!(count > 0, "{text:?} ended before {wanted:?}");
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    text
}

pub fn attached_clients() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let options = IoOptions { stdin: true, ..daemon.io_options("c") };
        let script = "printf 'prompt> '; while read line; do echo \"got $line\"; done; echo over";
        let (io, _) = daemon.launch(options, &["sh", "-c", script]).await;
        let fifo = bench.state().join("io/c/stdout");
        assert!(fifo.exists());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (first, mut type_first, mut see_first, _) = client(true, false);
        let (second, _quiet, mut see_second, _) = client(false, false);
        let sessions = [first, second].map(|stdio| {
            let io = io.clone();
            tokio::spawn(async move { io.attach(stdio).await })
        });
        read_until(&mut see_first, "prompt> ").await;
        read_until(&mut see_second, "prompt> ").await;
        type_first.write_all(b"one\n").await.expect("typed");
        read_until(&mut see_first, "got one\n").await;
        read_until(&mut see_second, "got one\n").await;
        // Its input ends: the session does, the container's stdin does not.
        drop(type_first);
        let [first, second] = sessions;
        first.await.expect("joined").expect("a good end");
        let (third, mut type_third, mut see_third, _) = client(true, false);
        let hangup = third.hangup.clone();
        let again = tokio::spawn({
            let io = io.clone();
            async move { io.attach(third).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        type_third.write_all(b"two\n").await.expect("typed");
        read_until(&mut see_third, "got two\n").await;
        hangup.cancel();
        again.await.expect("joined").expect("a good end");
        daemon.processes.signal(&name("c"), 15).await.expect("sent");
        let (code, text) = daemon.finish("c", &io).await;
        assert_eq!((code, text.as_str()), (143, "prompt> got one\ngot two\n"));
        second.await.expect("joined").expect("ends with the container");
        let (late, ..) = client(true, false);
        drop(late);
    });
}

pub fn stdin_ends_once() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let options = IoOptions { stdin: true, stdin_once: true, ..daemon.io_options("c") };
        let (io, _) = daemon.launch(options.clone(), &["sh", "-c", "cat; echo end; exit 3"]).await;
        // Over a restart of the daemon's side, the end still comes.
        drop((io, daemon));
        let daemon = Daemon::start(bench.state()).await;
        let io = ContainerIo::reopen(&daemon.streams, options, None).await.expect("its streams");
        let (stdio, mut typed, mut seen, _) = client(true, false);
        let session = tokio::spawn({
            let io = io.clone();
            async move { io.attach(stdio).await }
        });
        typed.write_all(b"words\n").await.expect("typed");
        drop(typed);
        read_until(&mut seen, "words\nend\n").await;
        let (code, text) = daemon.finish("c", &io).await;
        assert_eq!((code, text.as_str()), (3, "words\nend\n"));
        session.await.expect("joined").expect("ends with the container");
    });
}

pub fn a_terminal() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let options = IoOptions { tty: true, stdin: true, ..daemon.io_options("c") };
        // Its size comes by a way of its own, perhaps after what was typed.
        let script = "printf 'ready? '; read a; n=0; \
                      while [ \"$(stty size)\" != '43 132' ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done; \
                      stty size; read b; echo last $b; exit 5";
        let (io, _) = daemon.launch(options.clone(), &["sh", "-c", script]).await;
        drop((io, daemon));
        // The daemon comes back and gets the terminal from the keeper.
        let daemon = Daemon::start(bench.state()).await;
        let master = daemon.processes.pty(&name("c")).await;
        assert!(master.is_some());
        let io = ContainerIo::reopen(&daemon.streams, options, master).await.expect("its streams");
        let (stdio, mut typed, mut seen, resize) = client(true, true);
        let session = tokio::spawn({
            let io = io.clone();
            async move { io.attach(stdio).await }
        });
        read_until(&mut seen, "ready? ").await;
        resize.send(TerminalSize { width: 132, height: 43 }).await.expect("sent");
        typed.write_all(b"go\n").await.expect("typed");
        read_until(&mut seen, "43 132\r\n").await;
        typed.write_all(b"words\n").await.expect("typed");
        let (code, text) = daemon.finish("c", &io).await;
        assert_eq!(code, 5);
        assert!(text.contains("ready? go\r\n") && text.ends_with("last words\r\n"), "{text:?}");
        session.await.expect("joined").expect("ends with the container");
    });
}

pub fn a_slow_client_is_cut_off() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let words = [OURSELVES, "count", "0", "200000", "0", "0"];
        let options = IoOptions { stdin: true, ..daemon.io_options("c") };
        let script = format!("read go; exec {}", words.join(" "));
        let script =
            script.replace(OURSELVES, &std::env::current_exe().expect("known").display().to_string());
        let (io, _) = daemon.launch(options, &["sh", "-c", &script]).await;
        let (stdio, mut typed, _never_read, _) = client(true, false);
        let session = tokio::spawn({
            let io = io.clone();
            async move { io.attach(stdio).await }
        });
        typed.write_all(b"go\n").await.expect("typed");
        let (_, text) = daemon.finish("c", &io).await;
        assert_eq!(text.lines().count(), 200_000, "the log is whole");
        drop(_never_read);
        let ended = session.await.expect("joined");
        assert!(matches!(ended, Err(AttachError::TooSlow)), "{ended:?}");
    });
}

/// Pieces that fill a pipe without filling it with bytes, and lines that take for ever.
pub fn odd_writers_are_not_stuck() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let (io, _) = daemon
            .launch(daemon.io_options("dots"), &["sh", "-c", "for i in $(seq 3000); do printf .; done"])
            .await;
        let (_, text) = daemon.finish("dots", &io).await;
        assert_eq!(text, ".".repeat(3000));
        let words = ["dd", "if=/dev/zero", "bs=100000", "count=20", "status=none"];
        let (io, _) = daemon.launch(daemon.io_options("zeros"), &words).await;
        let (_, text) = daemon.finish("zeros", &io).await;
        assert_eq!(text.len(), 2_000_000);
        // Each splice takes a whole slot of the pipe for one byte.
        let fifo = bench.state().join("io/splice/stdout");
        let (io, _) = daemon.launch(daemon.io_options("splice"), &["sleep", "600"]).await;
        let writer = sys::fifo::open_for_writer(&fifo).expect("opens");
        let feeding = tokio::task::spawn_blocking(move || {
            let (reader, mut source) = std::io::pipe().expect("a pipe");
            for _ in 0..100 {
                source.write_all(b"s").expect("written");
                let moved =
                    rustix::pipe::splice(&reader, None, &writer, None, 1, rustix::pipe::SpliceFlags::empty());
                assert_eq!(moved.expect("spliced"), 1);
            }
        });
        feeding.await.expect("not stuck");
        daemon.processes.signal(&name("splice"), 9).await.expect("sent");
        let (_, text) = daemon.finish("splice", &io).await;
        assert_eq!(text, "s".repeat(100));
    });
}

/// Its own output is open to it both ways: what it reads is gone, and the next ones' logs are whole.
pub fn a_container_that_reads_its_own_output_harms_nobody() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let sated = bench.state().join("sated").display().to_string();
        let script = format!(
            "(dd bs=1 count=1000 of=/dev/null status=none <&1; : > {sated}) & while [ ! -e {sated} ]; do echo x; done"
        );
        let (thief, _) = daemon.launch(daemon.io_options("thief"), &["sh", "-c", &script]).await;
        let (honest, _) =
            daemon.launch(daemon.io_options("honest"), &[OURSELVES, "count", "0", "20000", "0", "0"]).await;
        let (_, text) = daemon.finish("honest", &honest).await;
        assert!(text.lines().map(str::to_owned).eq((0..20_000).map(line)), "every line once");
        let (_, text) = daemon.finish("thief", &thief).await;
        assert!(text.bytes().all(|byte| matches!(byte, b'x' | b'\n')), "its own words or nothing");
    });
}

pub fn throughput() {
    const LINES: u64 = 1_000_000;
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let file = bench.state().join("input");
        let whole: String = (0..LINES).map(|n| line(n) + "\n").collect();
        std::fs::write(&file, &whole).expect("written");
        let began = Instant::now();
        let (io, _) = daemon.launch(daemon.io_options("c"), &["cat", file.to_str().expect("text")]).await;
        daemon.processes.exited(&name("c")).await;
        io.drained().await;
        let took = began.elapsed().as_secs_f64();
        println!(
            "throughput: {:.0} lines/s, {:.0} MiB/s of one container into its log (debug build: {})",
            LINES as f64 / took,
            whole.len() as f64 / took / f64::from(1 << 20),
            cfg!(debug_assertions)
        );
        assert_eq!(text(&daemon.log_path("c")), whole);
    });
}
