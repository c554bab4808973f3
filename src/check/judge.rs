//! What the facts about a host mean for Keelson. Pure.
//!
//! | needs | from | without it |
//! |---|---|---|
//! | Linux | 6.1 | not supported |
//! | tcx | 6.6 | clsact filters |
//! | exit codes of processes that somebody else reaped | 6.15 | the keeper's own wait |

use super::facts::{CONTROLLERS, Facts};

/// Oldest kernel: Debian 12's.
const KERNEL: (u32, u32) = (6, 1);
const TCX: (u32, u32) = (6, 6);
const EXIT_CODES: (u32, u32) = (6, 15);
/// A pod needs none, but kubelet, runtime and DNS have some each, and so do others on the host.
const INOTIFY_INSTANCES: u64 = 128;
/// Per pod some ten descriptors are open.
const OPEN_FILES: u64 = 10_000;
/// What etcd's users are told for its log.
const SYNC_P99_MS: f64 = 10.0;
const FREE_BYTES: u64 = 2 << 30;

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Pass,
    /// It works, less well.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub group: &'static str,
    pub name: &'static str,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// What to do about it; empty where all is well.
    pub mending: String,
}

/// Judges everything, in the order in which it is shown.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        user(facts),
        kernel(&facts.release),
        architecture(facts),
        requirement(
            "kernel",
            "BTF",
            facts.btf,
            "type information of the kernel",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
        ),
        lockdown(facts),
        requirement(
            "kernel",
            "overlayfs",
            facts.overlay,
            "container roots",
            "use a kernel with CONFIG_OVERLAY_FS, or: modprobe overlay",
        ),
        requirement(
            "kernel",
            "bpf filesystem",
            facts.bpffs,
            "pins of maps and programs",
            "use a kernel with CONFIG_BPF_SYSCALL=y",
        ),
        veth(facts),
        requirement(
            "kernel",
            "user namespaces",
            facts.user_namespaces > 0,
            "pods with hostUsers: false",
            "sysctl -w user.max_user_namespaces=65536",
        ),
    ];
    findings.push(cgroup2(facts));
    findings.extend(CONTROLLERS.iter().map(|name| controller(facts, name)));
    findings.extend([
        inotify(facts),
        open_files(facts),
        swap(facts),
        ports(facts),
        cni(facts),
        disk(facts),
        room(facts),
    ]);
    findings
}

fn finding(
    group: &'static str,
    name: &'static str,
    verdict: Verdict,
    seen: impl Into<String>,
    mending: impl Into<String>,
) -> Finding {
    let mending = if verdict == Verdict::Pass { String::new() } else { mending.into() };
    Finding { group, name, verdict, seen: seen.into(), mending }
}

fn requirement(
    group: &'static str,
    name: &'static str,
    there: bool,
    what_for: &str,
    mending: &str,
) -> Finding {
    let verdict = if there { Verdict::Pass } else { Verdict::Fail };
    let seen = if there { what_for.to_owned() } else { format!("missing; needed for {what_for}") };
    finding(group, name, verdict, seen, mending)
}

fn user(facts: &Facts) -> Finding {
    let seen = if facts.root { "root" } else { "not root; what follows may look worse than it is" };
    let verdict = if facts.root { Verdict::Pass } else { Verdict::Fail };
    finding("host", "user", verdict, seen, "run it as root")
}

/// Judges the kernel by its release alone.
pub fn kernel(release: &str) -> Finding {
    let Some(found) = version(release) else {
        return finding("kernel", "version", Verdict::Warn, release, "compare it with 6.1 yourself");
    };
    if found < KERNEL {
        let mending = "install Linux 6.1 or newer; Debian 12 has it";
        return finding("kernel", "version", Verdict::Fail, release, mending);
    }
    let mut less = Vec::new();
    if found < TCX {
        less.push("clsact instead of tcx");
    }
    if found < EXIT_CODES {
        less.push("exit codes are lost if the keeper is killed");
    }
    let seen = if less.is_empty() { release.to_owned() } else { format!("{release}: {}", less.join(", ")) };
    finding("kernel", "version", Verdict::Pass, seen, "")
}

/// Major and minor number.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn architecture(facts: &Facts) -> Finding {
    let verdict = match facts.architecture.as_str() {
        "x86_64" => Verdict::Pass,
        "aarch64" => Verdict::Warn,
        _ => Verdict::Fail,
    };
    finding(
        "host",
        "architecture",
        verdict,
        facts.architecture.clone(),
        "x86_64 is what has been tried; aarch64 is built for",
    )
}

fn lockdown(facts: &Facts) -> Finding {
    let verdict = if facts.lockdown == "confidentiality" { Verdict::Fail } else { Verdict::Pass };
    finding(
        "kernel",
        "lockdown",
        verdict,
        facts.lockdown.clone(),
        "boot with lockdown=integrity or without it: eBPF programs must read packets",
    )
}

fn veth(facts: &Facts) -> Finding {
    match &facts.veth {
        Ok(()) => finding("kernel", "veth", Verdict::Pass, "links of pods", ""),
        Err(why) => finding(
            "kernel",
            "veth",
            Verdict::Fail,
            why.clone(),
            "use a kernel with CONFIG_VETH, or: modprobe veth",
        ),
    }
}

fn cgroup2(facts: &Facts) -> Finding {
    match &facts.cgroup2 {
        Some(mount) => finding("cgroups", "cgroup2", Verdict::Pass, mount.clone(), ""),
        None => finding(
            "cgroups",
            "cgroup2",
            Verdict::Fail,
            "not mounted",
            "boot with systemd.unified_cgroup_hierarchy=1, or: mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
    }
}

fn controller(facts: &Facts, name: &'static str) -> Finding {
    match facts.controllers.get(name) {
        Some(2) => finding("cgroups", name, Verdict::Pass, "v2", ""),
        Some(_) => finding("cgroups", name, Verdict::Pass, "v1; v2 is better kept", ""),
        None if matches!(name, "hugetlb" | "cpuset") => finding(
            "cgroups",
            name,
            Verdict::Warn,
            "missing: requests for it are refused",
            "use a kernel with this controller",
        ),
        None => finding("cgroups", name, Verdict::Fail, "missing", format!("boot with cgroup_enable={name}")),
    }
}

fn inotify(facts: &Facts) -> Finding {
    let verdict = if facts.inotify_instances < INOTIFY_INSTANCES { Verdict::Warn } else { Verdict::Pass };
    finding(
        "limits",
        "inotify instances",
        verdict,
        facts.inotify_instances.to_string(),
        "sysctl -w fs.inotify.max_user_instances=1024",
    )
}

fn open_files(facts: &Facts) -> Finding {
    let verdict = if facts.open_files < OPEN_FILES { Verdict::Warn } else { Verdict::Pass };
    finding(
        "limits",
        "open files",
        verdict,
        facts.open_files.to_string(),
        "raise it: ulimit -Hn 1048576, or LimitNOFILE= in the unit",
    )
}

fn swap(facts: &Facts) -> Finding {
    match facts.swap_bytes {
        0 => finding("limits", "swap", Verdict::Pass, "off", ""),
        bytes => finding(
            "limits",
            "swap",
            Verdict::Warn,
            format!("{} MiB", bytes >> 20),
            "pods do not use it; swapoff -a gives them the memory that they are promised",
        ),
    }
}

fn ports(facts: &Facts) -> Finding {
    if facts.taken_ports.is_empty() {
        return finding("network", "ports", Verdict::Pass, "free", "");
    }
    let taken: Vec<String> =
        facts.taken_ports.iter().map(|(port, whose)| format!("{port} ({whose})")).collect();
    let seen = format!("taken: {}", taken.join(", "));
    finding(
        "network",
        "ports",
        Verdict::Warn,
        seen,
        "stop who has them (ss -lntup), unless it is Keelson itself",
    )
}

fn cni(facts: &Facts) -> Finding {
    if facts.foreign_cni.is_empty() {
        return finding("network", "CNI", Verdict::Pass, "no configuration of somebody else", "");
    }
    let seen = format!("also there: {}", facts.foreign_cni.join(", "));
    finding(
        "network",
        "CNI",
        Verdict::Warn,
        seen,
        "remove them from /etc/cni/net.d, or use --cni=none: the first by name is taken",
    )
}

fn disk(facts: &Facts) -> Finding {
    match &facts.sync_p99 {
        Ok(ms) if *ms <= SYNC_P99_MS => {
            finding("disk", "synced writes", Verdict::Pass, format!("p99 {ms:.1} ms"), "")
        }
        Ok(ms) => finding(
            "disk",
            "synced writes",
            Verdict::Warn,
            format!("p99 {ms:.1} ms"),
            "put --data-dir on a faster disk: every write to the API waits for it",
        ),
        Err(why) => finding(
            "disk",
            "synced writes",
            Verdict::Fail,
            why.clone(),
            "make the folder writable, or choose another --data-dir",
        ),
    }
}

fn room(facts: &Facts) -> Finding {
    let verdict = if facts.free_bytes < FREE_BYTES { Verdict::Warn } else { Verdict::Pass };
    finding(
        "disk",
        "free space",
        verdict,
        format!("{} MiB", facts.free_bytes >> 20),
        "images need room: free some, or choose another --data-dir",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn good() -> Facts {
        Facts {
            root: true,
            release: "6.18.44".into(),
            architecture: "x86_64".into(),
            btf: true,
            lockdown: "none".into(),
            controllers: CONTROLLERS.iter().map(|name| (*name, 2)).collect::<BTreeMap<_, _>>(),
            cgroup2: Some("/sys/fs/cgroup".into()),
            bpffs: true,
            overlay: true,
            veth: Ok(()),
            user_namespaces: 1000,
            inotify_instances: 128,
            open_files: 1 << 20,
            swap_bytes: 0,
            foreign_cni: vec![],
            taken_ports: vec![],
            sync_p99: Ok(1.0),
            free_bytes: 100 << 30,
        }
    }

    fn check(change: fn(&mut Facts), expect: &[(&str, Verdict)]) {
        let mut facts = good();
        change(&mut facts);
        let bad: Vec<(&str, Verdict)> = judge(&facts)
            .iter()
            .filter(|finding| finding.verdict != Verdict::Pass)
            .map(|finding| {
                assert!(!finding.mending.is_empty(), "{finding:?} tells what to do");
                (finding.name, finding.verdict)
            })
            .collect();
        assert_eq!(bad, expect);
    }

    #[test]
    fn what_is_missing_is_found_and_mended() {
        check(|_| {}, &[]);
        check(|facts| facts.root = false, &[("user", Verdict::Fail)]);
        check(|facts| facts.release = "5.15.0-91-generic".into(), &[("version", Verdict::Fail)]);
        check(|facts| facts.release = "6.1.0-28-amd64".into(), &[]);
        check(|facts| facts.release = "unknown".into(), &[("version", Verdict::Warn)]);
        check(|facts| facts.architecture = "riscv64".into(), &[("architecture", Verdict::Fail)]);
        check(|facts| facts.btf = false, &[("BTF", Verdict::Fail)]);
        check(|facts| facts.lockdown = "confidentiality".into(), &[("lockdown", Verdict::Fail)]);
        check(|facts| facts.veth = Err("a pair of links: not supported".into()), &[("veth", Verdict::Fail)]);
        check(|facts| facts.cgroup2 = None, &[("cgroup2", Verdict::Fail)]);
        check(
            |facts| {
                facts.controllers.remove("memory");
                facts.controllers.remove("hugetlb");
            },
            &[("memory", Verdict::Fail), ("hugetlb", Verdict::Warn)],
        );
        check(|facts| facts.swap_bytes = 1 << 30, &[("swap", Verdict::Warn)]);
        check(|facts| facts.taken_ports = vec![(6443, "the API")], &[("ports", Verdict::Warn)]);
        check(|facts| facts.foreign_cni = vec!["05-x.conf".into()], &[("CNI", Verdict::Warn)]);
        check(|facts| facts.sync_p99 = Ok(40.0), &[("synced writes", Verdict::Warn)]);
        check(|facts| facts.sync_p99 = Err("read-only".into()), &[("synced writes", Verdict::Fail)]);
        check(|facts| facts.free_bytes = 1 << 20, &[("free space", Verdict::Warn)]);
        check(|facts| facts.inotify_instances = 8, &[("inotify instances", Verdict::Warn)]);
        check(|facts| facts.open_files = 1024, &[("open files", Verdict::Warn)]);
    }

    #[test]
    fn older_kernels_are_told_what_they_lack() {
        let told = |release: &str| kernel(release).seen;
        assert_eq!(told("6.18.44"), "6.18.44");
        assert_eq!(told("6.12.1"), "6.12.1: exit codes are lost if the keeper is killed");
        assert!(told("6.1.0-28-amd64").contains("clsact instead of tcx"));
    }
}
