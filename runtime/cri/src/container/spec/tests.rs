//! The specification as a whole, for requests as the kubelet and crictl send them.

use super::*;
use oci_spec::runtime::LinuxNamespaceType;

fn host() -> HostFacts {
    HostFacts {
        cgroups: Mode::Unified,
        oom_score_floor: -1000,
        open_files: 1 << 20,
        last_capability: 40,
        user_namespaces: Ok(()),
        unset_seccomp: UnsetSeccomp::RuntimeDefault,
        apparmor: false,
        selinux: false,
    }
}

fn spec(config: &v1::ContainerConfig) -> Outcome<Spec> {
    let sandbox = v1::PodSandboxConfig::default();
    let image = ImageConfig { cmd: vec!["sh".into()], env: vec!["A=1".into()], ..Default::default() };
    let user = ResolvedUser { home: "/root".into(), ..Default::default() };
    build(&Inputs {
        config,
        sandbox: SandboxFacts {
            id: "s",
            config: &sandbox,
            hostname: "pod",
            net: Some("/run/ns/net".into()),
            ipc: Some("/run/ns/ipc".into()),
            uts: Some("/run/ns/uts".into()),
            pid: None,
            user: None,
            files: [("/etc/hostname", "/run/s/hostname".into()), ("/dev/shm", "/run/s/shm".into())].into(),
        },
        image: &image,
        user: &user,
        host: &host(),
        cgroup: "/kubepods/x",
    })
}

fn with(security: v1::LinuxContainerSecurityContext) -> v1::ContainerConfig {
    let linux = v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() };
    v1::ContainerConfig { linux: Some(linux), ..Default::default() }
}

fn bounding(spec: &Spec) -> usize {
    let process = spec.process().as_ref().unwrap();
    process.capabilities().as_ref().unwrap().bounding().as_ref().map_or(0, |set| set.len())
}

#[test]
fn an_empty_request_gets_the_image_and_the_defaults() {
    let spec = spec(&v1::ContainerConfig::default()).unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_ref().unwrap(), &["sh"]);
    assert!(process.env().as_ref().unwrap().contains(&"A=1".to_owned()));
    assert_eq!(bounding(&spec), 14);
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_some(), "confined by default");
    let kinds: Vec<_> = linux.namespaces().as_ref().unwrap().iter().map(|n| n.typ()).collect();
    assert!(kinds.contains(&LinuxNamespaceType::Network) && kinds.contains(&LinuxNamespaceType::Cgroup));
    let targets: Vec<_> =
        spec.mounts().as_ref().unwrap().iter().map(|m| m.destination().display().to_string()).collect();
    assert!(
        targets.contains(&"/etc/hostname".to_owned()) && targets.contains(&"/dev/shm".to_owned()),
        "{targets:?}"
    );
}

#[test]
fn privileged_means_everything() {
    let spec =
        spec(&with(v1::LinuxContainerSecurityContext { privileged: true, ..Default::default() })).unwrap();
    assert_eq!(bounding(&spec), 41);
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none());
    assert!(linux.masked_paths().as_ref().unwrap().is_empty());
}

#[test]
fn capabilities_are_added_and_dropped() {
    let table: [(&[&str], &[&str], usize); 6] = [
        (&[], &["ALL"], 0),
        (&["net_admin"], &["ALL"], 1),
        (&["CAP_NET_ADMIN"], &[], 15),
        (&["ALL"], &[], 41),
        (&["ALL"], &["SYS_ADMIN"], 40),
        (&["CHOWN"], &["CHOWN"], 13),
    ];
    for (add, drop, expect) in table {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = v1::Capability {
            add_capabilities: names(add),
            drop_capabilities: names(drop),
            ..Default::default()
        };
        let security =
            v1::LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() };
        assert_eq!(bounding(&spec(&with(security)).unwrap()), expect, "{add:?} {drop:?}");
    }
    let capabilities = v1::Capability { add_capabilities: vec!["FLY".into()], ..Default::default() };
    let security =
        v1::LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() };
    assert!(spec(&with(security)).is_err());
}

#[test]
fn commands_and_arguments_replace_what_they_should() {
    let run = |command: &[&str], args: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let config = v1::ContainerConfig { command: own(command), args: own(args), ..Default::default() };
        spec(&config).unwrap().process().as_ref().unwrap().args().clone().unwrap().join(" ")
    };
    assert_eq!(run(&[], &[]), "sh");
    assert_eq!(run(&["top"], &[]), "top");
    assert_eq!(run(&[], &["-c"]), "-c");
    assert_eq!(run(&["ls"], &["-l"]), "ls -l");
}

#[test]
fn a_request_without_a_profile_gets_what_the_command_line_chose() {
    use security::{Seccomp, seccomp};
    let check = |unset: UnsetSeccomp, profile: Option<v1::SecurityProfile>, expect: Seccomp| {
        let facts = HostFacts { unset_seccomp: unset, ..host() };
        let context = Context {
            has_own_ids: false,
            security: v1::LinuxContainerSecurityContext { seccomp: profile, ..Default::default() },
            namespaces: v1::NamespaceOption::default(),
            resources: v1::LinuxContainerResources::default(),
            privileged: false,
            host: &facts,
        };
        assert_eq!(seccomp(&context).unwrap(), expect);
    };
    let named = |kind: v1::security_profile::ProfileType| {
        Some(v1::SecurityProfile { profile_type: kind.into(), ..Default::default() })
    };
    use v1::security_profile::ProfileType::{RuntimeDefault, Unconfined};
    check(UnsetSeccomp::Unconfined, None, Seccomp::Unconfined);
    check(UnsetSeccomp::RuntimeDefault, None, Seccomp::RuntimeDefault);
    check(UnsetSeccomp::Unconfined, named(RuntimeDefault), Seccomp::RuntimeDefault);
    check(UnsetSeccomp::RuntimeDefault, named(Unconfined), Seccomp::Unconfined);
}

#[test]
fn a_profile_is_a_file_of_the_host() {
    let check = |path: &str, part: &str| {
        let profile = v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::Localhost.into(),
            localhost_ref: path.into(),
        };
        let refused =
            spec(&with(v1::LinuxContainerSecurityContext { seccomp: Some(profile), ..Default::default() }));
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    sys::fifo::create(&pipe).unwrap();
    check("profile.json", "not an absolute path");
    check("/dev/zero", "not a regular file");
    check(pipe.to_str().unwrap(), "not a regular file");
    check(folder.path().join("none").to_str().unwrap(), "No such file");
}

#[test]
fn nothing_is_masked_where_nothing_is_asked_in_a_user_namespace() {
    let check = |has_own_ids: bool, masked: &[&str], expect: usize| {
        let facts = host();
        let masked_paths = masked.iter().map(|path| (*path).to_owned()).collect();
        let context = Context {
            has_own_ids,
            security: v1::LinuxContainerSecurityContext { masked_paths, ..Default::default() },
            namespaces: v1::NamespaceOption::default(),
            resources: v1::LinuxContainerResources::default(),
            privileged: false,
            host: &facts,
        };
        assert_eq!(context.masked_paths().len(), expect);
    };
    check(true, &[], 0);
    check(true, &["/proc/kcore"], 1);
    check(false, &["/proc/kcore"], 1);
    check(false, &[], oci_spec::runtime::get_default_maskedpaths().len());
}
