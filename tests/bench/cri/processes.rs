//! Memory and CPU of a server's own processes, from /proc. The bench's PID namespace holds nobody else's.

use std::time::Duration;

use harness::process;

use super::figures;
use super::peers::{Kind, Pair, Server};

/// What is given back after a burst is given back in this time.
const QUIET: Duration = Duration::from_secs(5);

/// What a server has running beside the applications.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    pub processes: usize,
    /// Proportional, in kilobytes.
    pub daemon: u64,
    /// The keeper's; the shims'.
    pub minders: u64,
    /// Pause processes'.
    pub pauses: u64,
}

impl Own {
    pub fn kilobytes(&self) -> u64 {
        self.daemon + self.minders + self.pauses
    }
}

/// A table of what both hold when nothing is asked of them and no pod runs.
pub async fn idle(pair: &Pair, when: &str) {
    quiet().await;
    println!(
        "\nMemory with no pods, {when}, proportional\n\n| server | daemon | keeper or shims |\n|---|---|---|"
    );
    for server in [&pair.ours, &pair.peer] {
        let own = own(server);
        println!(
            "| {} | {} MB | {} MB |",
            server.name(),
            figures::megabytes(own.daemon),
            figures::megabytes(own.minders)
        );
    }
}

/// Until nothing is left of what was just done.
pub async fn quiet() {
    tokio::time::sleep(QUIET).await;
}

pub fn own(server: &Server) -> Own {
    let mut own = Own::default();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let Some(slot) = slot(&mut own, server, pid, &line) else { continue };
        *slot += process::proportional(pid.unsigned_abs());
        own.processes += 1;
    }
    own
}

fn slot<'a>(own: &'a mut Own, server: &Server, pid: i32, line: &str) -> Option<&'a mut u64> {
    let words: Vec<&str> = line.split('\0').collect();
    match server.kind {
        _ if pid == server.pid() => Some(&mut own.daemon),
        Kind::Keelson if words.get(1) == Some(&"keeper") => Some(&mut own.minders),
        Kind::Containerd if words[0].contains("containerd-shim") => Some(&mut own.minders),
        Kind::Containerd if words.get(1) == Some(&harness::containerd::PAUSE) => Some(&mut own.pauses),
        _ => None,
    }
}

/// Seconds of CPU that the daemon, its keeper and shims, and children that it has reaped have used so far.
pub fn cpu(server: &Server) -> f64 {
    let mut sum = 0.0;
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if slot(&mut Own::default(), server, pid, &line).is_some() {
            sum += process::cpu_seconds_with_children(pid.unsigned_abs());
        }
    }
    sum
}
