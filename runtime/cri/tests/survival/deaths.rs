//! Deaths of keeper, daemon and both, while processes are launched, print and end.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::bench::{Bench, Daemon, PATIENCE, Random, block_on, eventually, kill, kill_keeper, name, text};
use super::roles::line;

pub fn launches_survive_dying_keepers() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let state = bench.state().to_owned();
        let mut random = Random::new();
        let killer = std::thread::spawn(move || {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(20 + random.below(100)));
                kill_keeper(&state);
            }
        });
        let mut count = 0;
        while count < 60 || !killer.is_finished() {
            let id = format!("c{count}");
            let code = count % 200;
            let script = format!("echo hello; exit {code}");
            let (io, _) = daemon.launch(daemon.io_options(&id), &["sh", "-c", &script]).await;
            let (got, text) = daemon.finish(&id, &io).await;
            assert_eq!((got, text.as_str()), (code, "hello\n"));
            io.close().await;
            daemon.processes.forget(&name(&id)).await;
            count += 1;
        }
        println!("{count} launches while 20 keepers died");
        killer.join().expect("joined");
        assert!(daemon.processes.list().await.is_empty());
    });
}

pub fn ends_are_known_after_each_death() {
    let bench = Bench::new();
    block_on(async {
        // The keeper dies before the end: the pidfd tells.
        let first = Daemon::start(bench.state()).await;
        let options = |daemon: &Daemon, id: &str| daemon.io_options(id);
        let script = "read x < GO; exit 11".replace("GO", &fifo(bench.state(), "go1"));
        let (_, one) = first.launch(options(&first, "one"), &["sh", "-c", &script]).await;
        let pidfd = first.processes.pidfd(&name("one")).await.expect("held");
        assert!(kill_keeper(bench.state()));
        go(bench.state(), "go1");
        assert_eq!(first.processes.exited(&name("one")).await.code(), 11, "keeper dead");
        assert!(matches!(sys::exit::observe(pidfd.as_fd(), one.pid), sys::exit::Observed::Ended(_)));
        // It ended, both die: the record tells.
        drop(first);
        kill_keeper(bench.state());
        let second = Daemon::start(bench.state()).await;
        assert_eq!(second.processes.exited(&name("one")).await.code(), 11, "both dead after the end");
        // The daemon is away at the end: the keeper tells.
        let script = "read x < GO; exit 12".replace("GO", &fifo(bench.state(), "go2"));
        second.launch(options(&second, "two"), &["sh", "-c", &script]).await;
        drop(second);
        go(bench.state(), "go2");
        let third = Daemon::start(bench.state()).await;
        assert_eq!(third.processes.exited(&name("two")).await.code(), 12, "daemon away");
        // Both die, the process lives: its record finds it.
        let script = "read x < GO; exit 13".replace("GO", &fifo(bench.state(), "go3"));
        let (_, three) = third.launch(options(&third, "three"), &["sh", "-c", &script]).await;
        let (_, four) = third.launch(options(&third, "four"), &["sleep", "600"]).await;
        drop(third);
        // The handle's task may still be stopping; a daemon's death closes its descriptors at once.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(kill_keeper(bench.state()));
        let fourth = Daemon::start(bench.state()).await;
        let lives = fourth.processes.list().await;
        let lives: Vec<_> = lives.iter().filter(|held| held.exit.is_none()).map(|held| held.pid).collect();
        assert_eq!(lives, [four.pid, three.pid]);
        go(bench.state(), "go3");
        assert_eq!(fourth.processes.exited(&name("three")).await.code(), 13, "both dead before the end");
        // Both die, then the process does: nobody knows.
        drop(fourth);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(kill_keeper(bench.state()));
        kill(four.pid);
        let fifth = Daemon::start(bench.state()).await;
        let end = fifth.processes.exited(&name("four")).await;
        println!("an end that nobody held: {} known={}", end.code(), end.known());
        assert!(!end.known() && end.code() == 255 || end.code() == 137, "unless it is still a zombie");
    });
}

fn fifo(state: &Path, name: &str) -> String {
    let path = state.join(name);
    sys::fifo::create(&path).expect("made");
    path.display().to_string()
}

fn go(state: &Path, name: &str) {
    let mut fifo = std::fs::File::options().write(true).open(state.join(name)).expect("opens");
    std::io::Write::write_all(&mut fifo, b"go\n").expect("written");
}

pub fn listeners_survive_both() {
    let bench = Bench::new();
    block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound");
        let first = Daemon::start(bench.state()).await;
        assert!(first.processes.take_listener("cri").await.expect("asked").is_none());
        first.processes.store_listener("cri", listener.as_fd()).await.expect("stored");
        drop(listener);
        // The keeper dies; the next one gets it again.
        let before = first.processes.keeper().await;
        assert!(kill_keeper(bench.state()));
        let mut taken = None;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            taken = first.processes.take_listener("cri").await.ok().flatten();
            if taken.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(taken.is_some());
        assert_ne!(first.processes.keeper().await, before);
        first.processes.upgrade_keeper().await.expect("becomes itself");
        // The daemon goes away; who connects meanwhile waits.
        drop((first, taken));
        let waiting = std::net::TcpStream::connect(address).expect("queued, not refused");
        let second = Daemon::start(bench.state()).await;
        let taken = second.processes.take_listener("cri").await.expect("asked").expect("kept");
        std::net::TcpListener::from(taken).accept().expect("served");
        drop(waiting);
    });
}

fn start_daemon(state: &Path) -> Child {
    let _of_before = std::fs::remove_file(state.join("ready"));
    Command::new("/proc/self/exe").arg("daemon").arg(state).spawn().expect("runs")
}

/// The show: counters print, daemon and keeper are killed at random, every line is there in order. Half of
/// them write in blocks that end in the middle of a line: when both die, that line may be torn or lost.
pub fn no_line_is_lost_to_random_deaths() {
    const CONTAINERS: u64 = 20;
    const LINES: u64 = 2_000;
    const PER_SECOND: u64 = 250;
    const DEATHS: u64 = 30;
    /// What a FIFO holds.
    const BUFFER: usize = 64 * 1024;
    /// Of a program's own buffer: no multiple of a line, nor of a page.
    const BLOCK: &str = "1021";
    let in_blocks = |n: u64| n % 2 == 1;
    let bench = Bench::new();
    let state = bench.state();
    std::fs::create_dir(state.join("ends")).expect("made");
    let ourselves = std::env::current_exe().expect("known").display().to_string();
    block_on(async {
        let daemon = Daemon::start(state).await;
        for n in 0..CONTAINERS {
            let (lines, rate, code) = (LINES.to_string(), PER_SECOND.to_string(), (100 + n).to_string());
            let words = [&ourselves, "count", "0", &lines, &rate, &code, BLOCK];
            let words = if in_blocks(n) { &words[..] } else { &words[..6] };
            daemon.launch(daemon.io_options(&format!("c{n}")), words).await;
        }
    });
    let mut random = Random::new();
    let mut daemon = start_daemon(state);
    let mut deaths = BTreeMap::from([("daemon", 0), ("keeper", 0), ("both", 0)]);
    for _ in 0..DEATHS {
        std::thread::sleep(Duration::from_millis(50 + random.below(200)));
        let victim = ["daemon", "daemon", "keeper", "keeper", "both"][random.below(5) as usize];
        *deaths.entry(victim).or_insert(0) += 1;
        if victim != "keeper" {
            daemon.kill().expect("killed");
            daemon.wait().expect("reaped");
        }
        // Of both the keeper is the second: a daemon that lives gives it a successor at once.
        if victim != "daemon" {
            kill_keeper(state);
        }
        if victim != "keeper" {
            daemon = start_daemon(state);
        }
    }
    eventually("every end is told", || {
        let told = std::fs::read_dir(state.join("ends")).expect("reads");
        told.filter(|entry| !entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with('.'))
            .count()
            == CONTAINERS as usize
    });
    daemon.kill().expect("killed");
    daemon.wait().expect("reaped");
    let (mut doubled, mut harmed) = (0, 0);
    for n in 0..CONTAINERS {
        let end = std::fs::read_to_string(state.join(format!("ends/c{n}"))).expect("told");
        assert_eq!(end, format!("{} true", 100 + n), "container {n}");
        let text = text(&state.join(format!("logs/c{n}.log")));
        // Who dies alone may be the second of two that no other has met between.
        let spared = if in_blocks(n) { DEATHS } else { 0 };
        let (repeats, torn) = check_lines(&text, LINES, BUFFER, spared)
            .unwrap_or_else(|wrong| panic!("container {n}: {wrong}"));
        doubled += repeats;
        harmed += torn;
    }
    println!(
        "{CONTAINERS} containers, {} lines, deaths {deaths:?}: no whole line lost, {harmed} in pieces harmed, {doubled} buffers doubled",
        CONTAINERS * LINES
    );
}

/// Every number in order; where it goes back, by less than a buffer; of `spared` lines each may be torn or
/// missing. How often it goes back, and how many are not whole.
fn check_lines(text: &str, lines: u64, buffer: usize, spared: u64) -> Result<(usize, u64), String> {
    let number = |text: &str| -> Option<u64> { text.split(' ').nth(1)?.parse().ok() };
    let (mut next, mut repeats, mut harmed) = (0, 0, 0);
    for got in text.lines() {
        let Some(n) = number(got).filter(|n| got == line(*n)) else {
            // Two halves, or the second one alone.
            harmed += 1;
            if harmed > spared {
                return Err(format!("torn after {next}: {got:?}"));
            }
            next += 1;
            continue;
        };
        if n > next {
            harmed += n - next;
            if harmed > spared {
                return Err(format!("{next} is missing before {n}"));
            }
        }
        if n + 1 < next {
            let bytes: usize = (n..next).map(|n| line(n).len() + 1).sum();
            if bytes > buffer {
                return Err(format!("{bytes} bytes doubled at {n}"));
            }
            repeats += 1;
        }
        next = n + 1;
    }
    if next == lines { Ok((repeats, harmed)) } else { Err(format!("ends before {next} of {lines}")) }
}
