//! The init of a pod whose containers share a PID namespace: a process that only reaps.
//!
//! It runs our own executable with nothing around it: its root holds one read-only file. It starts when the
//! first container asks to share and ends with the sandbox; when it dies, the kernel kills all that share.

use std::path::{Path, PathBuf};

use oci::{Plan, PlanOptions, Rootfs};
use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, Root, Spec, User,
};
use rustix::fs::{Mode, OFlags};

use super::SandboxRecord;
use crate::fault::{Doing as _, Fault, Outcome};
use crate::process::{Io, ProcessId};

/// Where the executable is inside its root.
const PROGRAM: &str = "/init";
/// The kubelet's value for what must not be killed before the pod's own containers.
const OOM_SCORE: i32 = -998;

/// It opens nothing, so it needs no more than this; without a limit it would have the keeper's.
const OPEN_FILES: u64 = 1024;
const NO_CAPABILITIES: u64 = 0;

/// Its name with the keeper.
pub fn process_id(record: &SandboxRecord) -> Outcome<ProcessId> {
    ProcessId::new(format!("{}-init", record.id)).doing(|| "naming the pod's init".into())
}

/// Its plan. `root` is an empty folder.
pub fn plan(
    record: &SandboxRecord,
    executable: &Path,
    root: PathBuf,
    cgroup: (&str, Vec<PathBuf>),
    oom_score_floor: i32,
) -> Outcome<Plan> {
    let (cgroup_path, cgroup_procs) = cgroup;
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(User::default())
        .set_args(Some([PROGRAM, "cri", crate::pod_init::ARGUMENT].map(str::to_owned).to_vec()))
        .set_env(Some(Vec::new()))
        .set_cwd("/".into())
        .set_capabilities(None)
        .set_no_new_privileges(Some(true))
        .set_rlimits(Some(vec![open_files()?]))
        .set_oom_score_adj(Some(OOM_SCORE.max(oom_score_floor)))
        .set_apparmor_profile(None)
        .set_selinux_label(None);
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(record)))
        .set_devices(None)
        .set_resources(Some(LinuxResources::default()))
        .set_cgroups_path(Some(cgroup_path.into()))
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_seccomp(Some(oci::seccomp::runtime_default(NO_CAPABILITIES)))
        .set_rootfs_propagation(None)
        .set_sysctl(None);
    let mut spec_root = Root::default();
    spec_root.set_path("rootfs".into()).set_readonly(Some(true));
    let mut spec = Spec::default();
    spec.set_version("1.2.0".to_owned())
        .set_root(Some(spec_root))
        .set_hostname(None)
        .set_process(Some(process))
        .set_mounts(Some(mounts(executable)))
        .set_annotations(None)
        .set_linux(Some(linux));
    let options = PlanOptions {
        bundle: root.clone(),
        rootfs: Some(Rootfs::Directory(root)),
        cgroup_procs,
        cgroup_path: cgroup_path.to_owned(),
        gate: true,
        ..PlanOptions::default()
    };
    Plan::from_spec(&spec, &options).doing(|| "planning the pod's init".into())
}

/// /dev is a file system of its own: device nodes are never made in our folder.
fn mounts(executable: &Path) -> Vec<Mount> {
    let mut program = Mount::default();
    program
        .set_destination(PROGRAM.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(executable.to_owned()))
        .set_options(Some(["bind", "ro", "nosuid", "nodev"].map(str::to_owned).to_vec()));
    let mut dev = Mount::default();
    dev.set_destination("/dev".into())
        .set_typ(Some("tmpfs".to_owned()))
        .set_source(Some("tmpfs".into()))
        .set_options(Some(["nosuid", "noexec", "mode=755", "size=64k"].map(str::to_owned).to_vec()));
    vec![program, dev]
}

fn namespaces(record: &SandboxRecord) -> Vec<LinuxNamespace> {
    let own = |kind| (kind, None);
    let mut list = vec![own(LinuxNamespaceType::Mount), own(LinuxNamespaceType::Pid)];
    let join = [
        (LinuxNamespaceType::Network, &record.net),
        (LinuxNamespaceType::Ipc, &record.ipc),
        (LinuxNamespaceType::Uts, &record.uts),
        (LinuxNamespaceType::User, &record.user),
    ];
    list.extend(join.into_iter().filter(|(_, path)| path.is_some()).map(|(kind, path)| (kind, path.clone())));
    list.into_iter()
        .map(|(kind, path)| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind).set_path(path);
            namespace
        })
        .collect()
}

fn open_files() -> Outcome<PosixRlimit> {
    let limit = PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile);
    limit.soft(OPEN_FILES).hard(OPEN_FILES).build().doing(|| "limiting open files".into())
}

/// It reads and writes nothing.
pub fn io() -> Outcome<Io> {
    let null = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Fault::failed("opening /dev/null", errno))
    };
    Ok(Io { stdio: [null()?, null()?, null()?], held: Vec::new(), tty: false, tied: false })
}
