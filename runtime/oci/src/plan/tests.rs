//! Plans as golden text: what a specification becomes, step by step, and what is refused.

use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::*;

fn minimal() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "env": ["HOME=/", "PATH=/a:/b"] },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] },
    })
}

fn options() -> PlanOptions {
    PlanOptions { bundle: "/bundle".into(), ..PlanOptions::default() }
}

fn planned(spec: &Value) -> Result<Plan, PlanError> {
    let spec: Spec = serde_json::from_value(spec.clone()).expect("a specification");
    Plan::from_spec(&spec, &options())
}

fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(Step::describe).collect()
}

#[test]
fn a_minimal_container() {
    let plan = planned(&minimal()).unwrap();
    assert_eq!(plan.clone_flags, Namespaces::MOUNT.with(Namespaces::PID));
    let expected = "\
start a session
set the propagation of `/`
bring up root filesystem `/bundle/rootfs`
make device `/dev/null`
make device `/dev/zero`
make device `/dev/full`
make device `/dev/random`
make device `/dev/urandom`
make device `/dev/tty`
make link `/dev/fd`
make link `/dev/stdin`
make link `/dev/stdout`
make link `/dev/stderr`
make link `/dev/core`
make link `/dev/ptmx`
pivot to the root filesystem
drop capabilities from the bounding set
change to working directory `/`
become user 0:0
set capabilities
set umask 22
change to working directory `/`
exec: \"sh\"
exec: \"sh\"";
    assert_eq!(words(&plan).join("\n"), expected);
}

#[test]
fn what_a_field_adds() {
    type Case = (&'static str, fn(&mut Value), &'static [&'static str]);
    let cases: [Case; 9] = [
        (
            "hostname",
            |s| {
                s["hostname"] = json!("h");
                s["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
            },
            &["set hostname `h`"],
        ),
        (
            "cgroup namespace",
            |s| {
                s["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "cgroup" }]);
            },
            &["unshare cgroup namespace"],
        ),
        (
            "joined",
            |s| {
                s["linux"]["namespaces"] =
                    json!([{ "type": "mount" }, { "type": "network", "path": "/run/n" }]);
            },
            &["join net namespace `/run/n`"],
        ),
        (
            "user namespace",
            |s| {
                s["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "user" }]);
                let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
                s["linux"]["uidMappings"] = map.clone();
                s["linux"]["gidMappings"] = map;
            },
            &["map user and group ids", "become root of the user namespace"],
        ),
        ("no new privileges", |s| s["process"]["noNewPrivileges"] = json!(true), &["set no_new_privs"]),
        ("no HOME", |s| s["process"]["env"] = json!([]), &["find the home of user 0"]),
        ("read-only root", |s| s["root"]["readonly"] = json!(true), &["make the root filesystem read-only"]),
        ("working directory", |s| s["process"]["cwd"] = json!("/w"), &["make directory `/w`"]),
        ("terminal", |s| s["process"]["terminal"] = json!(true), &["set up the terminal"]),
    ];
    for (name, change, expected) in cases {
        let mut spec = minimal();
        change(&mut spec);
        let words = words(&planned(&spec).unwrap());
        for expected in expected {
            assert!(words.iter().any(|word| word == expected), "{name}: {words:#?}");
        }
    }
}

#[test]
fn where_namespaces_are_joined() {
    for (list, clone, around, before) in [
        (json!([{ "type": "mount" }, { "type": "pid", "path": "/p" }]), Namespaces::MOUNT, Some("/p"), 0),
        // The user namespace owns the rest, so it is entered by an intermediate child.
        (
            json!([{ "type": "mount" }, { "type": "pid" }, { "type": "user", "path": "/u" }, { "type": "network", "path": "/n" }]),
            Namespaces::MOUNT.with(Namespaces::PID),
            None,
            2,
        ),
        (json!([{ "type": "mount" }, { "type": "cgroup" }, { "type": "time" }]), Namespaces::MOUNT, None, 0),
    ] {
        let mut spec = minimal();
        spec["linux"]["namespaces"] = list;
        let plan = planned(&spec).unwrap();
        assert_eq!(plan.clone_flags, clone);
        assert_eq!(plan.join_pid, around.map(PathBuf::from));
        assert_eq!(plan.join_first.len(), before);
    }
}

#[test]
fn seccomp_comes_last_only_under_no_new_privileges() {
    for (no_new_privileges, before_identity) in [(true, false), (false, true)] {
        let mut spec = minimal();
        spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        let steps = planned(&spec).unwrap().steps;
        let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
        let seccomp = at(|step| matches!(step, Step::Seccomp { .. }));
        let identity = at(|step| matches!(step, Step::Identity { .. }));
        assert_eq!(seccomp < identity, before_identity);
        assert_eq!(seccomp == steps.len() - 2, no_new_privileges);
    }
}

/// Hooks that the child runs find the cgroup as it shall be: the parent sees to that while it waits to be asked.
#[test]
fn hooks_of_the_child_wait_for_the_parent() {
    let mut spec = minimal();
    let asked = |spec: &Value| {
        let plan = planned(spec).unwrap();
        let ask = plan.steps.iter().position(|step| matches!(step, Step::RuntimeHooks));
        (ask, plan.steps.iter().position(|step| matches!(step, Step::Hooks { .. })))
    };
    assert_eq!(asked(&spec), (None, None));
    spec["hooks"] = json!({ "createContainer": [{ "path": "/bin/true" }] });
    let (ask, run) = asked(&spec);
    assert!(ask.is_some() && ask < run, "{ask:?} {run:?}");
}

#[test]
fn mounts_and_their_rules() {
    for (mount, rule) in [
        (json!({ "destination": "/data", "type": "bind", "source": "v" }), Ok(TargetRule::Follow)),
        (json!({ "destination": "/proc", "type": "proc", "source": "proc" }), Ok(TargetRule::Strict)),
        (json!({ "destination": "/dev/shm", "type": "tmpfs" }), Ok(TargetRule::Strict)),
        (json!({ "destination": "/x/../dev", "type": "tmpfs" }), Ok(TargetRule::Strict)),
        (json!({ "destination": "/proc/cpuinfo", "type": "bind", "source": "/c" }), Ok(TargetRule::OnProc)),
        (json!({ "destination": "/proc/1", "type": "bind", "source": "/c" }), Err("inside /proc")),
        (json!({ "destination": "/proc/sys", "type": "tmpfs" }), Err("inside /proc")),
        (json!({ "destination": "/", "type": "tmpfs" }), Err("the root cannot")),
        (json!({ "destination": "/a", "type": "bind" }), Err("mounts.source")),
        (
            json!({ "destination": "/a", "type": "bind", "source": "/", "options": ["idmap"] }),
            Err("needs a user namespace"),
        ),
    ] {
        let mut spec = minimal();
        spec["mounts"] = json!([mount]);
        match (planned(&spec), rule) {
            (Ok(plan), Ok(rule)) => {
                let found = plan.steps.iter().find_map(|step| match step {
                    Step::Mount(mount) => Some(mount.rule),
                    _ => None,
                });
                assert_eq!(found, Some(rule), "{mount}");
            }
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{mount}: {error}"),
            (result, _) => panic!("{mount}: {result:?}"),
        }
    }
}

#[test]
fn refused_with_the_field() {
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 12] = [
        (|s| s["linux"]["namespaces"] = json!([]), "mount namespace"),
        (|s| s["process"]["args"] = json!([]), "process.args"),
        (|s| s["process"]["cwd"] = json!("relative"), "process.cwd"),
        (|s| s["hostname"] = json!("h"), "hostname"),
        (|s| s["linux"]["sysctl"] = json!({ "net.x": "1" }), "network namespace"),
        (|s| s["linux"]["rootfsPropagation"] = json!("sideways"), "rootfsPropagation"),
        (|s| s["linux"]["mountLabel"] = json!("x"), "mountLabel"),
        (|s| s["process"]["selinuxLabel"] = json!("x"), "selinuxLabel"),
        (|s| s["process"]["user"] = json!({ "uid": u32::MAX, "gid": 0 }), "process.user.uid"),
        (|s| s["process"]["user"] = json!({ "uid": 1, "gid": u32::MAX }), "process.user.gid"),
        (
            |s| s["process"]["user"] = json!({ "uid": 1, "gid": 1, "additionalGids": [u32::MAX] }),
            "additionalGids",
        ),
        (|s| s["process"]["rlimits"] = json!([{ "type": "RLIMIT_CPU", "soft": 2, "hard": 1 }]), "rlimits"),
    ];
    for (change, words) in cases {
        let mut spec = minimal();
        change(&mut spec);
        let error = planned(&spec).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn the_encoding_keeps_everything_and_knows_its_version() {
    let mut spec = minimal();
    spec["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    spec["mounts"] = json!([{ "destination": "/t", "type": "tmpfs", "options": ["size=1m", "ro"] }]);
    let plan = planned(&spec).unwrap();
    let bytes = plan.encode().unwrap();
    assert_eq!(Plan::decode(&bytes).unwrap(), plan);
    let mut newer = bytes.clone();
    newer[0] += 1;
    assert!(matches!(Plan::decode(&newer), Err(PlanError::Version(_))));
    for length in 0..bytes.len() {
        assert!(Plan::decode(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn an_exec_enters_all_but_the_pid_namespace_by_steps() {
    let spec: Spec = serde_json::from_value(minimal()).unwrap();
    let target = ExecTarget {
        pid: 7,
        namespaces: Namespaces::MOUNT.with(Namespaces::PID).with(Namespaces::NETWORK),
        ..ExecTarget::default()
    };
    let plan = Plan::exec(spec.process().as_ref().unwrap(), &target).unwrap();
    assert_eq!(plan.steps[1], Step::EnterTarget { kinds: Namespaces::MOUNT.with(Namespaces::NETWORK) });
    assert!(plan.target.is_some_and(|target| target.pid_namespace));
    assert!(plan.clone_flags.is_empty());
}

#[test]
fn an_exec_writes_through_procfs_only_before_it_enters() {
    let mut spec = minimal();
    spec["process"]["apparmorProfile"] = json!("strict");
    spec["process"]["oomScoreAdj"] = json!(5);
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let target = ExecTarget { pid: 7, namespaces: Namespaces::MOUNT, ..ExecTarget::default() };
    let steps = Plan::exec(spec.process().as_ref().unwrap(), &target).unwrap().steps;
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let entered = at(|step| matches!(step, Step::EnterTarget { .. }));
    assert!(at(|step| matches!(step, Step::AppArmor { .. })) < entered);
    assert!(at(|step| matches!(step, Step::OomScore { .. })) < entered);
}
