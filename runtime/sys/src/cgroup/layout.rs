//! Which hierarchies this host has mounted, and which controller lives where.
//!
//! [`Layout::parse`] is pure; [`Layout::detect`] reads the files for it, small ones alone where cgroup2 alone is mounted in its usual place.
//! Reference: proc_pid_mountinfo(5), cgroups(7).

use super::CgroupError;
use std::path::{Path, PathBuf};

/// How the host's hierarchies are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// cgroup2 alone: the default everywhere since about 2021.
    Unified,
    /// v1 hierarchies alone.
    Legacy,
    /// v1 hierarchies beside a cgroup2 tree, which may own some of the controllers.
    Hybrid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    V1,
    V2,
}

/// One mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub mount: PathBuf,
    pub version: Version,
    /// Controller names of that version (`blkio` on v1 is `io` on v2), or one `name=...` on v1.
    pub controllers: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub mode: Mode,
    /// cgroup2 first, if there is one, then v1 in mount order.
    pub hierarchies: Vec<Hierarchy>,
    /// Controllers the kernel was built and started with, as /proc/cgroups names them.
    pub kernel: Vec<String>,
}

/// Mount options of a v1 hierarchy that are controllers, for kernels that hide /proc/cgroups.
const V1_CONTROLLERS: [&str; 16] = [
    "cpuset",
    "cpu",
    "cpuacct",
    "blkio",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "dmem",
    "debug",
];

/// Where cgroup2 is on hosts that have nothing else, and what statfs(2) says there.
const USUAL_MOUNT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: rustix::fs::FsWord = 0x6367_7270;

impl Layout {
    /// Reads the calling process's view of the host.
    pub fn detect() -> Result<Layout, CgroupError> {
        let read = |path: &str| {
            read_at_once(path.as_ref()).map_err(|error| CgroupError::Detect(PathBuf::from(path), error))
        };
        // Absent on kernels built without v1: then there is nothing to learn from it either.
        let kernel = read("/proc/cgroups").unwrap_or_default();
        let unified = |mount: &Path| read_at_once(&mount.join("cgroup.controllers")).unwrap_or_default();
        // A node with many pods has thousands of mounts, and the kernel writes a line for each.
        let usual = || rustix::fs::statfs(USUAL_MOUNT).ok().map(|found| found.f_type);
        let memberships = read("/proc/self/cgroup").unwrap_or_default();
        if is_cgroup2_alone(&memberships) && usual() == Some(CGROUP2_MAGIC) {
            return Ok(Layout::unified_alone(USUAL_MOUNT.into(), &kernel, unified));
        }
        let mountinfo = read("/proc/self/mountinfo")?;
        Layout::parse(&mountinfo, &kernel, unified)
    }

    fn unified_alone(mount: PathBuf, kernel: &str, unified: impl Fn(&Path) -> String) -> Layout {
        let controllers = unified(&mount).split_whitespace().map(str::to_owned).collect();
        let hierarchies = vec![Hierarchy { mount, version: Version::V2, controllers }];
        Layout { mode: Mode::Unified, hierarchies, kernel: kernel_controllers(kernel) }
    }

    /// `unified` gives the text of cgroup.controllers at the mount point of cgroup2.
    pub fn parse(
        mountinfo: &str,
        kernel: &str,
        unified: impl Fn(&Path) -> String,
    ) -> Result<Layout, CgroupError> {
        let kernel = kernel_controllers(kernel);
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        // Of several mounts of one tree (containers and chroots bind them), the first is the host's own.
        for (mount, version, options) in mountinfo.lines().filter_map(cgroup_mount) {
            let controllers: Vec<String> = match version {
                Version::V2 => unified(&mount).split_whitespace().map(str::to_owned).collect(),
                Version::V1 => {
                    options.split(',').filter(|o| is_v1_controller(o, &kernel)).map(str::to_owned).collect()
                }
            };
            let same = |known: &Hierarchy| {
                known.version == version && (version == Version::V2 || known.controllers == controllers)
            };
            if !hierarchies.iter().any(same) && (version == Version::V2 || !controllers.is_empty()) {
                hierarchies.push(Hierarchy { mount, version, controllers });
            }
        }
        hierarchies.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
        let has = |version| hierarchies.iter().any(|hierarchy| hierarchy.version == version);
        let mode = match (has(Version::V2), has(Version::V1)) {
            (true, false) => Mode::Unified,
            (false, true) => Mode::Legacy,
            (true, true) => Mode::Hybrid,
            (false, false) => return Err(CgroupError::NoHierarchy),
        };
        Ok(Layout { mode, hierarchies, kernel })
    }

    /// The index of the hierarchy that has the controller, by its v1 or its v2 name.
    pub fn home(&self, controller: &str) -> Option<usize> {
        let has = |hierarchy: &Hierarchy| {
            let name = match hierarchy.version {
                Version::V1 => v1_name(controller),
                Version::V2 => v2_name(controller),
            };
            hierarchy.controllers.iter().any(|known| known == name)
        };
        self.hierarchies.iter().position(has)
    }

    /// The version under which a controller is in use here.
    pub fn version(&self, controller: &str) -> Option<Version> {
        self.home(controller).map(|index| self.hierarchies[index].version)
    }

    /// The cgroup2 mount point.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// A clause that says what to do about a controller without a home.
    pub fn why_missing(&self, controller: &str) -> String {
        let v1 = v1_name(controller);
        if self.kernel.iter().any(|known| known == v1) {
            return "the kernel has it, but no mounted hierarchy does; mount it, or leave it to cgroup2"
                .to_owned();
        }
        "the running kernel was built or started without it".to_owned()
    }
}

/// These files say that they have no length; the first guess of the standard library is 32 bytes.
fn read_at_once(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    const USUAL_BYTES: usize = 16 << 10;
    let mut text = String::with_capacity(USUAL_BYTES);
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

fn v1_name(controller: &str) -> &str {
    if controller == "io" { "blkio" } else { controller }
}

fn v2_name(controller: &str) -> &str {
    match controller {
        "blkio" => "io",
        "cpuacct" => "cpu",
        other => other,
    }
}

fn is_v1_controller(option: &str, kernel: &[String]) -> bool {
    option.starts_with("name=")
        || V1_CONTROLLERS.contains(&option)
        || kernel.iter().any(|known| known == option)
}

/// Names in /proc/cgroups whose last column says enabled.
fn kernel_controllers(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?;
        (columns.next_back() == Some("1")).then(|| name.to_owned())
    })
    .collect()
}

/// A process has a line for each hierarchy of the host, for those with a mere name too; cgroup2's is `0::/path`.
fn is_cgroup2_alone(memberships: &str) -> bool {
    memberships.lines().count() == 1 && memberships.starts_with("0::")
}

/// `36 25 0:32 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory`
fn cgroup_mount(line: &str) -> Option<(PathBuf, Version, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let options = right.nth(1)?;
    let mount = left.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(mount)), version, options))
}

/// mountinfo writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\ncpu\t1\t1\t1\n\
        memory\t4\t13\t1\nhugetlb\t0\t1\t1\nnet_cls\t0\t1\t0\n";

    /// `expect` is one `version:mount:controllers` per hierarchy.
    fn check(mountinfo: &str, unified: &str, mode: Mode, expect: &[&str]) -> Layout {
        let layout = Layout::parse(mountinfo, KERNEL, |_| unified.to_owned()).unwrap();
        assert_eq!(layout.mode, mode);
        let line =
            |h: &Hierarchy| format!("{:?}:{}:{}", h.version, h.mount.display(), h.controllers.join("+"));
        assert_eq!(layout.hierarchies.iter().map(line).collect::<Vec<_>>(), expect);
        layout
    }

    #[test]
    fn unified() {
        let layout = check(
            "24 18 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n22 1 8:1 / / rw - ext4 /dev/sda rw\n",
            "cpuset cpu io memory hugetlb pids\n",
            Mode::Unified,
            &["V2:/sys/fs/cgroup:cpuset+cpu+io+memory+hugetlb+pids"],
        );
        assert_eq!(layout.version("blkio"), Some(Version::V2));
        assert_eq!(layout.version("cpuacct"), Some(Version::V2));
        assert_eq!(layout.version("devices"), None);
    }

    #[test]
    fn the_short_way_finds_what_the_long_one_does() {
        let mountinfo = "24 18 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let kernel = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t1\t1\nmemory\t0\t13\t1\n";
        assert!(is_cgroup2_alone("0::/user.slice\n"));
        assert!(
            !is_cgroup2_alone("1:name=systemd:/\n0::/\n")
                && !is_cgroup2_alone("3:cpu:/\n")
                && !is_cgroup2_alone("")
        );
        let unified = |_: &Path| "cpu memory\n".to_owned();
        let long = Layout::parse(mountinfo, kernel, unified).unwrap();
        assert_eq!(Layout::unified_alone(USUAL_MOUNT.into(), kernel, unified), long);
    }

    #[test]
    fn hybrid_with_one_controller_in_the_new_tree() {
        let layout = check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             77 31 0:32 /a /var/lib/box/memory rw - cgroup cgroup rw,memory\n\
             78 31 0:38 /a /var/lib/box/unified rw - cgroup2 cgroup2 rw\n",
            "hugetlb\n",
            Mode::Hybrid,
            &[
                "V2:/sys/fs/cgroup/unified:hugetlb",
                "V1:/sys/fs/cgroup/cpu,cpuacct:cpu+cpuacct",
                "V1:/sys/fs/cgroup/memory:memory",
                "V1:/sys/fs/cgroup/systemd:name=systemd",
            ],
        );
        assert_eq!(layout.version("memory"), Some(Version::V1));
        assert_eq!(layout.version("hugetlb"), Some(Version::V2));
        assert!(layout.why_missing("cpuset").contains("no mounted hierarchy"));
        assert!(layout.why_missing("net_cls").contains("built or started without"));
    }

    #[test]
    fn legacy_with_an_escaped_path() {
        check(
            "9 1 0:9 / /mnt/a\\040b rw - cgroup cgroup rw,cpuset\n",
            "",
            Mode::Legacy,
            &["V1:/mnt/a b:cpuset"],
        );
    }

    #[test]
    fn nothing_mounted() {
        let error = Layout::parse("1 0 8:1 / / rw - ext4 /dev/sda rw\nrubbish\n", "", |_| String::new());
        assert!(matches!(error, Err(CgroupError::NoHierarchy)));
    }
}
