//! `keelson cri` beside Debian's containerd with runc and the bridge plugin: `cargo bench --bench cri`, on demand, as root.
//!
//! ```text
//! calls ─► 100 pods at once, their memory ─► 500 pods, ours alone ─► pull of 500 MB ─► log lines
//! each but the curve: interleaved rounds, the other one first in every second round
//! ```
//!
//! Both servers are asked in CRI by one client, have roots, sockets and networks of their own, and get their images from one
//! registry on loopback. All of it runs in namespaces of its own (network, mounts, PIDs) with an empty `/run`, so nothing
//! outlives the bench but cgroups, which are removed. Figures are ratios of medians and of minima: a busy machine
//! is equally busy for both. Nothing is judged here; a call that fails ends the bench.
//!
//! `-- --only calls,pods,curve,pull,logs` picks rows, `--rounds N` the number of lives, `--image-size MB` what is pulled,
//! `--executable FILE` another keelson.

mod calls;
mod client;
mod curve;
mod figures;
mod logs;
mod payload;
mod peers;
mod pods;
mod processes;
mod pull;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use harness::registry::{Login, debian};
use peers::{Kind, Pair, Server};

/// Set for the process inside the namespaces: the tag of the guard outside.
const INSIDE: &str = "KEELSON_BENCH_TAG";
/// An empty `/run` and `/var/lib`: containerd's shims and network cache have fixed places there. The shell stays as
/// the first process and reaps orphans.
const ENTER: &str =
    "mount -t tmpfs none /run && mount -t tmpfs none /var/lib && ip link set lo up && \"$0\" \"$@\"; exit $?";
const HIERARCHIES: &str = "/sys/fs/cgroup";

#[derive(Parser)]
#[command(name = "cri")]
pub struct Options {
    /// Rows: calls, pods, curve, pull, logs
    #[arg(long, value_delimiter = ',', default_value = "calls,pods,curve,pull,logs")]
    only: Vec<String>,
    /// Lives of a pod with each server
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Pods at once
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// Pods of the curve
    #[arg(long, default_value_t = 500)]
    curve: usize,
    /// Size of the image that is pulled, unpacked
    #[arg(long, default_value_t = 500, value_name = "MB")]
    image_size: usize,
    /// The keelson that is measured
    #[arg(long, default_value = env!("CARGO_BIN_EXE_keelson"))]
    executable: PathBuf,
    /// Where both servers keep everything (default: a fresh folder)
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    if !harness::root_or_skip("bench cri") {
        return;
    }
    if !peers::are_installed() {
        let reason = "containerd, runc, containernetworking-plugins, docker-registry and busybox-static are not all installed";
        return harness::skip("bench cri", reason);
    }
    match std::env::var(INSIDE) {
        Ok(tag) => inside(&options, &tag),
        Err(_) => outside(),
    }
}

/// Makes the namespaces, and looks at the host before and after.
fn outside() {
    let guard = harness::host::exclusive("bench cri");
    let own = std::env::current_exe().expect("this program");
    let mut shell = Command::new("unshare");
    shell.args([
        "--net",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    let status = shell
        .args(["sh", "-c", ENTER])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, guard.tag())
        .status()
        .expect("unshare runs");
    for name in ["keelson", "containerd"] {
        remove_cgroups(Path::new(HIERARCHIES), &peers::cgroup_name(name, guard.tag()));
    }
    assert!(status.success(), "{status}");
    guard.finish();
}

/// Of processes that are gone with their namespace.
fn remove_cgroups(hierarchies: &Path, name: &str) {
    let mut roots = vec![hierarchies.to_owned()];
    roots.extend(std::fs::read_dir(hierarchies).into_iter().flatten().flatten().map(|entry| entry.path()));
    roots
        .iter()
        .map(|root| root.join(name))
        .filter(|path| path.is_dir())
        .for_each(|path| remove_below(&path));
}

fn remove_below(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // What cannot be removed is named by the guard.
    let _named_later = std::fs::remove_dir(cgroup);
}

fn inside(options: &Options, tag: &str) {
    let scratch = harness::tempdir().expect("a folder");
    let folder = options.folder.clone().unwrap_or_else(|| scratch.path().to_owned());
    let registry = debian(Login::None).expect("the registry is installed");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads").block_on(async {
        let large = options.only.iter().any(|row| row == "pull").then_some(options.image_size);
        let images = payload::push(&registry, large);
        let mut pair = Pair {
            ours: Server::start(Kind::Keelson, &folder, &registry.address, &images, options, tag).await,
            peer: Server::start(Kind::Containerd, &folder, &registry.address, &images, options, tag).await,
        };
        processes::idle(&pair, "fresh").await;
        for row in &options.only {
            match row.as_str() {
                "calls" => calls::measure(&mut pair, options.rounds).await,
                "pods" => pods::measure(&mut pair, options.pods).await,
                "curve" => curve::measure(&mut pair.ours, options.curve).await,
                "pull" => pull::measure(&mut pair, &images).await,
                "logs" => logs::measure(&mut pair).await,
                other => panic!("no row is named {other:?}"),
            }
        }
        processes::idle(&pair, "after all of it").await;
    });
}
