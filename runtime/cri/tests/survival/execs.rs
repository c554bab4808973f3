//! Execs: results, limits, streams, and that none outlives who wanted it.

use std::time::{Duration, Instant};

use cri::io::exec::{ExecError, exec_stream_encoded, exec_sync_encoded};
use keelson_cri as cri;
use streaming::Stdio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::bench::{Bench, Daemon, PATIENCE, block_on, name};

fn shell(script: &str) -> Vec<u8> {
    ["sh", "-c", script].join("\0").into_bytes()
}

async fn nothing_is_left(daemon: &Daemon) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if daemon.processes.list().await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("left: {:?}", daemon.processes.list().await);
}

pub fn exec_sync_results() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let run = |script: &'static str| {
            exec_sync_encoded(
                &daemon.processes,
                name("e"),
                Box::leak(shell(script).into_boxed_slice()),
                None,
                None,
            )
        };
        for (script, stdout, stderr, code) in [
            ("true", "", "", 0),
            ("echo out; echo err >&2; exit 7", "out\n", "err\n", 7),
            ("cat", "", "", 0),
            ("kill -9 $$", "", "", 137),
        ] {
            let output = run(script).await.expect("runs");
            assert_eq!(
                (output.stdout.as_slice(), output.stderr.as_slice(), output.code),
                (stdout.as_bytes(), stderr.as_bytes(), code),
                "{script}"
            );
            nothing_is_left(&daemon).await;
        }
        let failed = exec_sync_encoded(&daemon.processes, name("e"), b"!exec", None, None).await;
        assert!(matches!(&failed, Err(ExecError::Launch(error)) if error.step().is_some()), "{failed:?}");
        nothing_is_left(&daemon).await;
        let began = Instant::now();
        const RUNS: u32 = 100;
        for _ in 0..RUNS {
            run("exit 0").await.expect("runs");
        }
        println!("exec_sync: {:?} each, through the keeper, plain launcher", began.elapsed() / RUNS);
    });
}

pub fn exec_sync_limits() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let timeout = Some(Duration::from_millis(200));
        let began = Instant::now();
        let script = shell("setsid sleep 0; sleep 600 & sleep 600");
        let late = exec_sync_encoded(&daemon.processes, name("late"), &script, None, timeout).await;
        assert!(matches!(late, Err(ExecError::TimedOut { .. })), "{late:?}");
        assert!(began.elapsed() < PATIENCE);
        nothing_is_left(&daemon).await;
        // The launch takes of the time, too.
        let at_once = Some(Duration::ZERO);
        let script = shell("sleep 600");
        let late = exec_sync_encoded(&daemon.processes, name("at-once"), &script, None, at_once).await;
        assert!(matches!(late, Err(ExecError::TimedOut { .. })), "{late:?}");
        nothing_is_left(&daemon).await;
        let script = shell("head -c 40000000 /dev/zero; echo done >&2");
        let output =
            exec_sync_encoded(&daemon.processes, name("much"), &script, None, None).await.expect("runs");
        // Both together, and what is around them, are one message that clients take: 16 MiB.
        assert_eq!(output.stderr, b"done\n");
        assert_eq!(output.stdout.len() + output.stderr.len(), (16 << 20) - (4 << 10));
    });
}

pub fn exec_with_pipes() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let (mut typed, stdin) = duplex(16);
        let (mut seen, stdout) = duplex(16);
        let (mut complained, stderr) = duplex(16);
        let stdio = Stdio {
            stdin: Some(Box::new(stdin)),
            stdout: Some(Box::new(stdout)),
            stderr: Some(Box::new(stderr)),
            ..Stdio::default()
        };
        let script = shell("cat; echo complaint >&2; exit 9");
        let typing = async move {
            for n in 0..1000 {
                typed.write_all(format!("{n}\n").as_bytes()).await.expect("typed");
            }
        };
        let (mut out, mut err) = (String::new(), String::new());
        let run = exec_stream_encoded(&daemon.processes, name("e"), &script, None, false, stdio);
        let (code, ..) =
            tokio::join!(run, typing, seen.read_to_string(&mut out), complained.read_to_string(&mut err));
        assert_eq!(code.expect("runs"), 9);
        assert!(out.lines().map(str::to_owned).eq((0..1000).map(|n| n.to_string())));
        assert_eq!(err, "complaint\n");
        nothing_is_left(&daemon).await;
    });
}

pub fn exec_with_a_terminal() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let (mut typed, stdin) = duplex(16);
        let (mut seen, stdout) = duplex(16);
        let stdio =
            Stdio { stdin: Some(Box::new(stdin)), stdout: Some(Box::new(stdout)), ..Stdio::default() };
        let script = shell("tty; read a; echo got $a; exit 4");
        typed.write_all(b"words\n").await.expect("typed");
        let mut out = String::new();
        let run = exec_stream_encoded(&daemon.processes, name("e"), &script, None, true, stdio);
        let (code, _) = tokio::join!(run, seen.read_to_string(&mut out));
        assert_eq!(code.expect("runs"), 4);
        assert!(out.contains("/dev/pts/") && out.ends_with("got words\r\n"), "{out:?}");
        nothing_is_left(&daemon).await;
    });
}

pub fn an_exec_ends_with_its_client() {
    let bench = Bench::new();
    block_on(async {
        let daemon = Daemon::start(bench.state()).await;
        let stdio = Stdio::default();
        let hangup = stdio.hangup.clone();
        let script = shell("sleep 600");
        let run = exec_stream_encoded(&daemon.processes, name("e"), &script, None, false, stdio);
        let (ended, ()) = tokio::join!(run, async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            hangup.cancel();
        });
        assert!(matches!(ended, Err(ExecError::ClientGone)), "{ended:?}");
        nothing_is_left(&daemon).await;
        // Whoever asked is dropped in the middle.
        let processes = daemon.processes.clone();
        let asker = tokio::spawn(async move {
            exec_sync_encoded(&processes, name("f"), &shell("sleep 600"), None, None).await
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        asker.abort();
        nothing_is_left(&daemon).await;
    });
}
