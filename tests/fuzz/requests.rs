//! CRI requests as bytes: decoded, validated, planned, and turned into what a container's child executes; a wrong one is
//! refused with a sentence. Nothing of the host is changed by a plan.

use std::path::PathBuf;

use cri::container::spec::{self, HostFacts, Inputs, SandboxFacts, merge_update, translate_resources};
use cri::container::user::{ResolvedUser, Wanted, resolve};
use cri::container::{self, image_volume};
use cri::id::SandboxId;
use cri::options::UnsetSeccomp;
use cri::paths::Paths;
use cri::sandbox::{self, Phase, SandboxRecord, UserNamespace, files};
use cri_api::v1;
use cri_api::v1::NamespaceMode;
use image::{ImageConfig, Snapshot};
use oci::{Plan, PlanOptions, Rootfs};
use prost::Message;

use crate::mutate::{self, Verdict};

const WORDS: [&str; 18] = [
    "..",
    "/",
    "/proc",
    "/dev/zero",
    "/etc",
    "ALL",
    "CAP_SYS_ADMIN",
    "FLY",
    "runtime/default",
    "localhost/",
    "../../x",
    "net.ipv4.ip_forward",
    "rwm",
    "0-9999999",
    "web",
    "4294967295",
    "A=B",
    "*",
];

fn namespaces(pid: NamespaceMode, rows: &[v1::IdMapping]) -> v1::NamespaceOption {
    let user =
        v1::UserNamespace { mode: NamespaceMode::Pod.into(), uids: rows.to_vec(), gids: rows.to_vec() };
    let userns_options = (!rows.is_empty()).then_some(user);
    v1::NamespaceOption { pid: pid.into(), userns_options, ..Default::default() }
}

fn pods() -> Vec<Vec<u8>> {
    let metadata =
        v1::PodSandboxMetadata { name: "web".into(), uid: "u".into(), namespace: "shop".into(), attempt: 1 };
    let rows = [v1::IdMapping { container_id: 0, host_id: 100_000, length: 65_536 }];
    let security = |options| v1::LinuxSandboxSecurityContext {
        namespace_options: Some(options),
        run_as_user: Some(v1::Int64Value { value: 7 }),
        supplemental_groups: vec![1, 2],
        ..Default::default()
    };
    let pod = |options| v1::PodSandboxConfig {
        metadata: Some(metadata.clone()),
        hostname: "web".into(),
        log_directory: "/var/log/pods/web".into(),
        dns_config: Some(v1::DnsConfig {
            servers: vec!["10.0.0.10".into()],
            searches: vec!["svc.local".into()],
            options: vec!["ndots:5".into()],
        }),
        port_mappings: vec![v1::PortMapping { container_port: 80, host_port: 8080, ..Default::default() }],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/pod1".into(),
            security_context: Some(security(options)),
            sysctls: [("kernel.shmmax".to_owned(), "5".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request =
        |options| v1::RunPodSandboxRequest { config: Some(pod(options)), runtime_handler: String::new() };
    [namespaces(NamespaceMode::Container, &[]), namespaces(NamespaceMode::Pod, &rows)]
        .map(|options| request(options).encode_to_vec())
        .to_vec()
}

fn containers() -> Vec<Vec<u8>> {
    let rows = [v1::IdMapping { container_id: 0, host_id: 100_000, length: 65_536 }];
    let resources = v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 256,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 500,
        cpuset_cpus: "0-1".into(),
        hugepage_limits: vec![v1::HugepageLimit { page_size: "2MB".into(), limit: 1 << 21 }],
        unified: [("memory.high".to_owned(), "5".to_owned())].into(),
        memory_swap_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    let security = v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: vec!["NET_ADMIN".into()],
            drop_capabilities: vec!["ALL".into()],
            ..Default::default()
        }),
        namespace_options: Some(namespaces(NamespaceMode::Container, &rows)),
        run_as_user: Some(v1::Int64Value { value: 33 }),
        readonly_rootfs: true,
        supplemental_groups: vec![7],
        no_new_privs: true,
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
        seccomp: Some(v1::SecurityProfile::default()),
        ..Default::default()
    };
    let image = v1::ImageSpec { image: "models:1".into(), ..Default::default() };
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 2 }),
        image: Some(image.clone()),
        command: vec!["sh".into()],
        args: vec!["-c".into(), "x".into()],
        working_dir: "/w".into(),
        envs: vec![v1::KeyValue { key: "A".into(), value: "1".into() }],
        mounts: vec![
            v1::Mount { container_path: "/e".into(), host_path: "/etc".into(), ..Default::default() },
            v1::Mount {
                container_path: "/i".into(),
                image: Some(image),
                image_sub_path: "dir".into(),
                readonly: true,
                ..Default::default()
            },
        ],
        devices: vec![v1::Device {
            container_path: "/dev/x".into(),
            host_path: "/dev/null".into(),
            permissions: "rw".into(),
        }],
        log_path: "c/2.log".into(),
        tty: true,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources),
            security_context: Some(security),
        }),
        ..Default::default()
    };
    vec![v1::CreateContainerRequest { config: Some(config), ..Default::default() }.encode_to_vec()]
}

fn run(name: &str, corpus: &[Vec<u8>], target: impl Fn(&[u8]) -> Verdict) {
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    mutate::run(name, &corpus, &WORDS, target);
}

fn refused(error: &impl std::fmt::Display) -> Verdict {
    assert!(!error.to_string().is_empty());
    Verdict::Refused
}

#[test]
fn sandboxes() {
    run("RunPodSandbox", &pods(), |input| {
        let Ok(request) = v1::RunPodSandboxRequest::decode(input) else { return Verdict::Refused };
        let config = request.config.unwrap_or_default();
        if let Err(error) = sandbox::validate::config(&config, &request.runtime_handler) {
            return refused(&error);
        }
        let id = SandboxId::parse(&"a".repeat(64)).expect("an id");
        let pins = PathBuf::from("/pins");
        let record = SandboxRecord {
            id,
            name: "n".into(),
            phase: Phase::Making,
            created_at: 0,
            handler: request.runtime_handler,
            hostname: config.hostname.clone(),
            net: Some(pins.join("net")),
            ipc: Some(pins.join("ipc")),
            uts: Some(pins.join("uts")),
            user: None,
            cgroup_parent: "/k".into(),
            made_cgroup_parent: true,
            attached: None,
            config,
        };
        let paths = Paths::new("/root-of-records".into(), "/state".into());
        let steps = sandbox::plan::plan(&record, &paths, &files::HostFiles::default());
        assert!(steps.len() > 3);
        Verdict::Understood
    });
}

#[test]
fn creations() {
    run("CreateContainer", &containers(), |input| {
        let Ok(request) = v1::CreateContainerRequest::decode(input) else { return Verdict::Refused };
        let config = request.config.unwrap_or_default();
        let valid = container::validate::config(&config, &HOST).map_err(|e| e.to_string());
        match valid.and_then(|()| planned(&config)) {
            Ok(plan) => {
                assert_eq!(
                    Plan::decode(&plan.encode().expect("a plan has an encoding")).expect("its own"),
                    plan
                );
                Verdict::Understood
            }
            Err(error) => refused(&error),
        }
    });
}

const HOST: HostFacts = HostFacts {
    cgroups: sys::cgroup::Mode::Unified,
    oom_score_floor: -1000,
    open_files: 1 << 20,
    last_capability: 40,
    user_namespaces: Ok(()),
    unset_seccomp: UnsetSeccomp::RuntimeDefault,
    apparmor: false,
    selinux: false,
};

/// As CreateContainer and StartContainer do it, without the host.
fn planned(config: &v1::ContainerConfig) -> Result<Plan, String> {
    let said = |error: cri::fault::Fault| error.to_string();
    let security = config.linux.clone().unwrap_or_default().security_context.unwrap_or_default();
    let options = security.namespace_options.clone().unwrap_or_default();
    let user = sandbox::user::wanted(&options).map_err(said)?.then(|| {
        let rows = options.userns_options.clone().unwrap_or_default();
        let (uids, gids) = (sandbox::user::ranges(&rows.uids), sandbox::user::ranges(&rows.gids));
        UserNamespace { path: "/pins/user".into(), uids, gids }
    });
    let asked = Wanted::of(&security, "web:logs").map_err(said)?;
    let passwd = "root:x:0:0::/:\nweb:x:33:34::/:\n";
    let who = resolve(&asked, passwd, "logs:x:50:web\n").map_err(said)?;
    let sandbox = v1::PodSandboxConfig::default();
    let image = ImageConfig { cmd: vec!["sh".into()], ..Default::default() };
    let facts = SandboxFacts {
        id: "s",
        config: &sandbox,
        hostname: "pod",
        net: Some("/pins/net".into()),
        ipc: Some("/pins/ipc".into()),
        uts: Some("/pins/uts".into()),
        pid: None,
        user,
        files: [("/etc/hostname", "/state/s/hostname".into())].into(),
    };
    let inputs =
        Inputs { config, sandbox: facts, image: &image, user: &who, host: &HOST, cgroup: "/kubepods/x" };
    let built = spec::build(&inputs).map_err(said)?;
    let volumes = config.mounts.iter().filter(|mount| image_volume::name(mount).is_some());
    let snapshot = Snapshot {
        lower: vec!["/layer".into()],
        upper: "/upper".into(),
        work: "/work".into(),
        volumes: volumes.map(|_| vec!["/volume".into()]).collect(),
    };
    let options = PlanOptions {
        bundle: "/bundle".into(),
        rootfs: Some(Rootfs::Overlay {
            lower: snapshot.lower.clone(),
            upper: "/upper".into(),
            work: "/work".into(),
        }),
        image_volumes: image_volume::planned(&config.mounts, &snapshot),
        layout: Some(sys::cgroup::Layout::detect().map_err(|error| error.to_string())?),
        gate: true,
        ..PlanOptions::default()
    };
    Plan::from_spec(&built, &options).map_err(|error| error.to_string())
}

#[test]
fn updates() {
    let request = containers();
    let decoded = v1::CreateContainerRequest::decode(request[0].as_slice()).expect("our own");
    let linux = decoded.config.unwrap_or_default().linux;
    let update = v1::UpdateContainerResourcesRequest {
        container_id: "c".into(),
        linux: linux.and_then(|linux| linux.resources),
        ..Default::default()
    };
    run("UpdateContainerResources", &[update.encode_to_vec()], |input| {
        let Ok(request) = v1::UpdateContainerResourcesRequest::decode(input) else { return Verdict::Refused };
        let update = request.linux.unwrap_or_default();
        let merged = merge_update(&v1::LinuxContainerResources::default(), &update);
        match translate_resources(&update, &mut Vec::new()).and(translate_resources(&merged, &mut Vec::new()))
        {
            Ok(_) => Verdict::Understood,
            Err(error) => refused(&error),
        }
    });
}

/// A user's name beside an image's own files, all three hostile: never more than the file says.
#[test]
fn users() {
    let corpus =
        [b"web:logs\0root:x:0:0::/:\nweb:x:33:34:x:/srv:/bin/sh\n\0root:x:0:\nlogs:x:50:web,root\n".to_vec()];
    run("user", &corpus, |input| {
        let text = String::from_utf8_lossy(input);
        let mut parts = text.splitn(3, '\0');
        let (user, passwd, group) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let Ok(wanted) = Wanted::of(&v1::LinuxContainerSecurityContext::default(), user) else {
            return Verdict::Refused;
        };
        match resolve(&wanted, passwd, group) {
            Ok(ResolvedUser { uid, gid, groups, .. }) => {
                assert!(uid != u32::MAX && gid != u32::MAX && groups.iter().all(|gid| *gid != u32::MAX));
                Verdict::Understood
            }
            Err(error) => refused(&error),
        }
    });
}
