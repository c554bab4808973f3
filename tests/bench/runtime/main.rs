//! What a container costs with each OCI runtime: `cargo bench --bench runtime`, on demand, as root.
//!
//! ```text
//! round: [floor] ─► [keelson] ─► [crun] ─► [runc] ─► next round, another one first
//! each:  create ─► start ─► the program ends ─► delete     wall time, and CPU time of all processes
//! ```
//!
//! The peers are Debian's. The floor is a program that makes the same system calls for namespaces, mounts and cgroup and
//! nothing else (see `floor`). Ours is installed like theirs, by copying: what a linker leaves is in the page cache page by page, what is
//! copied in large pieces, and each start maps it again. All of it runs in a mount namespace where cgroup2 is the only hierarchy, because Debian's crun refuses
//! hybrid hosts, and again on the host as it is, where crun is left out then. Rounds are interleaved and figures are
//! ratios of medians and of minima: a busy machine is equally busy for all. Nothing is judged here.

mod bundle;
mod floor;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bundle::Bundle;

const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");
const ROUNDS: usize = 60;
/// The first ones fill caches.
const WARM_UP: usize = 3;
/// Set for the process that runs in the namespace with cgroup2 alone.
const INSIDE: &str = "KEELSON_BENCH_UNIFIED";

fn main() {
    if !harness::root_or_skip("bench runtime") {
        return;
    }
    if !Path::new("/bin/busybox").exists() {
        return harness::skip("bench runtime", "no /bin/busybox (package busybox-static)");
    }
    if std::env::var_os(INSIDE).is_some() {
        return table("cgroup2 only");
    }
    let guard = harness::host::exclusive("bench runtime");
    let line = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\"";
    let own = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", line])
        .arg(own)
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{status}");
    table("this host's cgroups");
    guard.finish();
}

/// One that is measured.
struct Contender {
    name: &'static str,
    /// None is the floor.
    program: Option<Vec<String>>,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    wall: f64,
    cpu: f64,
}

fn table(place: &str) {
    let folder = harness::tempdir().expect("a folder");
    let installed = folder.path().join("keelson");
    std::fs::copy(KEELSON, &installed).expect("a copy of the executable");
    let bundle = Bundle::new(folder.path(), KEELSON);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("orphans come to us");
    let mut contenders = contenders(folder.path(), &installed);
    contenders.retain(|contender| {
        let works = measure(&bundle, contender.program.as_deref()).is_ok();
        if !works {
            println!("{place}: {} does not work here", contender.name);
        }
        works
    });
    let rounds =
        std::env::var("KEELSON_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds + WARM_UP {
        let first = round % contenders.len();
        for turn in 0..contenders.len() {
            let index = (first + turn) % contenders.len();
            let sample = measure(&bundle, contenders[index].program.as_deref());
            let sample = sample.unwrap_or_else(|why| panic!("{}: {why}", contenders[index].name));
            if round >= WARM_UP {
                contenders[index].samples.push(sample);
            }
        }
    }
    println!("\n{place}, {rounds} rounds of create, start, end, delete of busybox `true` (milliseconds)\n");
    println!("| runtime | wall, median | wall, best | CPU, median | CPU, best | keelson / it: wall | CPU |");
    println!("|---|---|---|---|---|---|---|");
    let ours = figures(&contenders.iter().find(|one| one.name == "keelson oci").expect("ours").samples);
    for contender in &contenders {
        let its = figures(&contender.samples);
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} (best {:.2}) | {:.2} (best {:.2}) |",
            contender.name,
            its[0],
            its[1],
            its[2],
            its[3],
            ours[0] / its[0],
            ours[1] / its[1],
            ours[2] / its[2],
            ours[3] / its[3],
        );
    }
}

fn contenders(folder: &Path, installed: &Path) -> Vec<Contender> {
    let link: PathBuf = folder.join("keelson-oci");
    std::os::unix::fs::symlink(installed, &link).expect("a link");
    let peers = [
        ("keelson oci", link.display().to_string()),
        ("crun", "/usr/bin/crun".into()),
        ("runc", "/usr/sbin/runc".into()),
    ];
    let floor = Contender { name: "the kernel's part", program: None, samples: Vec::new() };
    let programs = peers.into_iter().filter(|(_, path)| Path::new(path).exists()).map(|(name, path)| {
        let root = folder.join(format!("state-{name}")).display().to_string();
        Contender { name, program: Some(vec![path, "--root".into(), root]), samples: Vec::new() }
    });
    std::iter::once(floor).chain(programs).collect()
}

/// One container from create to delete.
fn measure(bundle: &Bundle, program: Option<&[String]>) -> Result<Sample, String> {
    let (cpu, began) = (cpu_of_children(), Instant::now());
    match program {
        None => floor::container(bundle)?,
        Some(program) => {
            let run = |arguments: &[&str]| -> Result<(), String> {
                let mut command = Command::new(&program[0]);
                command.args(&program[1..]).args(arguments).current_dir(&bundle.path);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let status = command.status().map_err(|error| error.to_string())?;
                if status.success() { Ok(()) } else { Err(format!("{arguments:?}: {status}")) }
            };
            run(&["create", "--pid-file", "pid", &bundle.id])?;
            let pid = std::fs::read_to_string(bundle.path.join("pid")).map_err(|error| error.to_string())?;
            let pidfd =
                sys::process::open(pid.trim().parse().map_err(|_| "no PID")?).map_err(|e| e.to_string())?;
            run(&["start", &bundle.id])?;
            sys::process::reap(pidfd.as_fd()).map_err(|error| error.to_string())?;
            run(&["delete", &bundle.id])?;
        }
    }
    Ok(Sample {
        wall: began.elapsed().as_secs_f64() * 1e3,
        cpu: (cpu_of_children() - cpu).as_secs_f64() * 1e3,
    })
}

/// Of all that were reaped: the runtimes' processes and the containers, which are orphans that come to this process.
fn cpu_of_children() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).expect("usage");
    let time =
        |value: nix::sys::time::TimeVal| Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000);
    time(usage.user_time()) + time(usage.system_time())
}

/// Wall median and best, CPU median and best.
fn figures(samples: &[Sample]) -> [f64; 4] {
    let sorted = |of: fn(&Sample) -> f64| {
        let mut list: Vec<f64> = samples.iter().map(of).collect();
        list.sort_by(f64::total_cmp);
        (list[list.len() / 2], list[0])
    };
    let ((wall, best_wall), (cpu, best_cpu)) = (sorted(|one| one.wall), sorted(|one| one.cpu));
    [wall, best_wall, cpu, best_cpu]
}
