//! What else this executable is: a daemon that a test can kill, and a program that counts.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cri::io::ContainerIo;
use keelson_cri as cri;

use super::bench::Daemon;

/// `count FROM TO PER_SECOND CODE [BLOCK]`: prints numbered lines, each with a write(2) of its own or in
/// blocks of so many bytes, then exits with the code.
/// `daemon STATE`: takes up whatever runs, writes down ends as `STATE/ends/<id>`.
pub fn dispatch() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1)?.as_str() {
        "count" => Some(count(&arguments[2..])),
        "daemon" => Some(daemon(Path::new(&arguments[2]))),
        _ => None,
    }
}

/// The line of a number.
pub fn line(number: u64) -> String {
    format!("line {number} of a container that has something to say")
}

fn count(arguments: &[String]) -> ExitCode {
    let number = |index: usize| -> u64 { arguments[index].parse().expect("a number") };
    let (from, to, per_second, code) = (number(0), number(1), number(2), number(3));
    let block = if arguments.len() > 4 { number(4) as usize } else { 0 };
    let out = std::io::stdout().as_fd().try_clone_to_owned().expect("a descriptor");
    let mut out = std::fs::File::from(out);
    let mut waiting = Vec::new();
    let mut write = |waiting: &mut Vec<u8>, count: usize| {
        out.write_all(&waiting[..count]).expect("somebody holds the other end");
        waiting.drain(..count);
    };
    // Ten times a second, unless there is no limit.
    let at_once = if per_second == 0 { u64::MAX } else { (per_second / 10).max(1) };
    for n in from..to {
        waiting.extend_from_slice((line(n) + "\n").as_bytes());
        while waiting.len() > block {
            let count = if block == 0 { waiting.len() } else { block };
            write(&mut waiting, count);
        }
        if (n - from + 1).is_multiple_of(at_once) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let count = waiting.len();
    write(&mut waiting, count);
    ExitCode::from(code as u8)
}

fn daemon(state: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let daemon = Daemon::start(state).await;
        for held in daemon.processes.list().await {
            let id = held.id.to_string();
            let options = daemon.io_options(&id);
            let io = ContainerIo::reopen(&daemon.streams, options, None).await.expect("its streams");
            let (processes, state) = (daemon.processes.clone(), state.to_owned());
            tokio::spawn(async move {
                let exit = processes.exited(&held.id).await;
                io.drained().await;
                let end = format!("{} {}", exit.code(), exit.known());
                let fresh = state.join("ends").join(format!(".{id}"));
                std::fs::write(&fresh, end).expect("written");
                std::fs::rename(&fresh, state.join("ends").join(&id)).expect("written");
            });
        }
        std::fs::write(state.join("ready"), b"").expect("written");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}
