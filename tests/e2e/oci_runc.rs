//! `keelson oci` beside Debian's runc: the same arguments, the same flags, exit codes and fields of the state.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::oci_bundle::{Bundle, ready, text};

const RUNC: &str = "/usr/sbin/runc";
const KEELSON: &str = env!("CARGO_BIN_EXE_keelson");

const VERBS: [&str; 14] = [
    "create", "run", "start", "state", "kill", "delete", "exec", "list", "ps", "pause", "resume", "update",
    "events", "spec",
];

fn runc_or_skip(test: &str) -> bool {
    let there = Path::new(RUNC).exists();
    if !there {
        harness::skip(test, "no runc (package runc)");
    }
    there
}

/// Flags in a help text: long ones by name, short ones with their hyphen.
fn flags(program: &mut Command) -> BTreeSet<String> {
    let help = text(&program.output().expect("help is printed"));
    let words =
        help.lines().filter(|line| line.trim_start().starts_with('-')).flat_map(str::split_whitespace);
    words
        .map(|word| word.trim_end_matches([',', ')']).split(['=', '[']).next().unwrap_or_default())
        .filter(|word| word.starts_with('-') && word.len() > 1 && !word.contains('<'))
        .map(|word| word.strip_prefix("--").unwrap_or(word).to_owned())
        .collect()
}

#[test]
fn the_command_line_is_runcs() {
    const TEST: &str = "the_command_line_is_runcs";
    if !ready(TEST) || !runc_or_skip(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    for verb in VERBS {
        let theirs = flags(Command::new(RUNC).args([verb, "--help"]));
        let ours = flags(Command::new(KEELSON).args(["oci", verb, "--help"]));
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "{verb}: {missing:?}");
    }
    let mut bundle = Bundle::new(guard.tag());
    let global = flags(Command::new(RUNC).arg("--help"));
    for flag in global.iter().filter(|flag| !["help", "-h", "version", "-v"].contains(&flag.as_str())) {
        let value = match flag.as_str() {
            "log" | "root" => bundle.path().join(flag).display().to_string(),
            "log-format" => "json".into(),
            "criu" => "criu".into(),
            "rootless" => "auto".into(),
            _ => String::new(),
        };
        let argument = if value.is_empty() { format!("--{flag}") } else { format!("--{flag}={value}") };
        let output = Command::new(KEELSON).args(["oci", &argument, "features"]).output().expect("it runs");
        assert!(output.status.success(), "{argument}: {}", text(&output));
    }
    assert!(bundle.must(&["--version"]).contains("spec: 1.2"));
    assert!(bundle.must(&["-v"]).contains("spec: 1.2"));
    bundle.must(&["--rootless", "auto", "features"]);
    let shown = Command::new(KEELSON).arg("oci").output().expect("it runs");
    assert_eq!((shown.status.code(), text(&shown).contains("checkpoint")), (Some(0), true));
    for [verb, flag, short] in [["checkpoint", "--leave-running", "--pre-dump"], ["restore", "-d", "-b"]] {
        let refused = bundle.oci(&[verb, "--image-path", "/x", flag, short, "/b", "c"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("not supported"), "{}", text(&refused));
    }
    let rootless = bundle.path().join("rootless");
    std::fs::create_dir(&rootless).expect("a directory");
    bundle.must(&["spec", "--rootless", "--bundle", &rootless.display().to_string()]);
    let spec: Value =
        serde_json::from_slice(&std::fs::read(rootless.join("config.json")).expect("a file")).expect("JSON");
    assert_eq!(spec["linux"]["uidMappings"], json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));

    both_say_the_same(&mut bundle);
    guard.finish();
}

/// runc on the same root, with a state and a cgroup of its own.
fn runc(bundle: &Bundle) -> Command {
    let folder = bundle.path().join("for-runc");
    std::fs::create_dir_all(&folder).expect("a directory");
    let text = std::fs::read(bundle.path().join("config.json")).expect("config.json");
    let mut spec: Value = serde_json::from_slice(&text).expect("JSON");
    spec["root"]["path"] = json!(bundle.rootfs());
    spec["linux"]["cgroupsPath"] = json!(format!("/{}-runc", bundle.id));
    std::fs::write(folder.join("config.json"), spec.to_string()).expect("config.json");
    let mut command = Command::new(RUNC);
    command.arg("--root").arg(folder.join("state")).current_dir(folder).stdin(Stdio::null());
    command
}

/// One story told to both.
fn both_say_the_same(bundle: &mut Bundle) {
    let runc = |bundle: &Bundle, arguments: &[&str]| -> Output {
        runc(bundle).args(arguments).output().expect("runc runs")
    };
    let id = bundle.id.clone();
    // What each is asked, and words that callers look for in both answers.
    let absent: [(&[&str], &str); 9] = [
        (&["state", &id], "does not exist"),
        (&["start", &id], "does not exist"),
        (&["kill", &id, "TERM"], "does not exist"),
        (&["delete", &id], "does not exist"),
        (&["delete", "--force", &id], ""),
        (&["pause", &id], "does not exist"),
        (&["ps", &id], "does not exist"),
        (&["update", "--memory", "64000000", &id], "does not exist"),
        (&["list", "--quiet"], ""),
    ];
    let compare = |bundle: &Bundle, arguments: &[&str], words: &str| {
        let (ours, theirs) = (bundle.oci(arguments), runc(bundle, arguments));
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{arguments:?}: {} | {}",
            text(&ours),
            text(&theirs)
        );
        for output in [&ours, &theirs] {
            assert!(text(output).contains(words), "{arguments:?}: no {words:?} in {}", text(output));
        }
        (ours, theirs)
    };
    for (arguments, words) in absent {
        compare(bundle, arguments, words);
    }
    for (line, words) in [("exit 7", ""), ("echo said", "said"), ("kill -9 $$; exit 2", "")] {
        bundle.shell(line);
        compare(bundle, &["run", &id], words);
    }
    bundle.edit(|spec| spec["process"]["args"] = json!(["nosuch"]));
    compare(bundle, &["run", &id], "executable file not found in $PATH");

    bundle.shell("sleep 1000");
    // A detached container keeps what it was given as output: not this test's pipes.
    let detached = ["run", "--detach", "--pid-file", "pid", &id];
    let mut theirs = self::runc(bundle);
    theirs.args(detached);
    for mut command in [bundle.command(&detached), theirs] {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("it runs").success());
    }
    compare(bundle, &["delete", &id], "not stopped");
    compare(bundle, &["start", &id], "");
    let (ours, theirs) = compare(bundle, &["state", &id], "running");
    let keys = |output: &Output| -> Vec<String> {
        let state: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        state.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(keys(&ours), keys(&theirs));
    for (arguments, words) in [
        (vec!["exec", &id, "sh", "-c", "exit 9"], ""),
        (vec!["exec", &id, "nosuch"], "executable file not found in $PATH"),
        (
            vec![
                "exec",
                "--cwd",
                "/tmp",
                "--env",
                "A=b",
                "--user",
                "7:8",
                &id,
                "sh",
                "-c",
                "pwd; echo $A; id -u",
            ],
            "/tmp\nb\n7\n",
        ),
        (vec!["pause", &id], ""),
        (vec!["exec", &id, "true"], "paused"),
        (vec!["resume", &id], ""),
        (vec!["ps", "--format", "json", &id], "["),
        (vec!["update", "--memory", "64000000", "--pids-limit", "50", &id], ""),
        (vec!["events", "--stats", &id], "\"usage\""),
        (vec!["kill", "--all", &id, "KILL"], ""),
    ] {
        compare(bundle, &arguments, words);
    }
    for _ in 0..3_000 {
        if bundle.status() == "stopped" && text(&runc(bundle, &["state", &id])).contains("stopped") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for (arguments, words) in [
        (vec!["exec", &id, "true"], "stopped"),
        (vec!["kill", &id, "TERM"], "container not running"),
        (vec!["start", &id], "stopped"),
        (vec!["delete", &id], ""),
    ] {
        compare(bundle, &arguments, words);
    }
}

#[test]
fn features_are_true() {
    const TEST: &str = "features_are_true";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    let features: Value = serde_json::from_str(&bundle.must(&["features"])).expect("JSON");
    let list = |value: &Value| -> Vec<String> {
        value.as_array().expect("a list").iter().map(|one| one.as_str().expect("text").to_owned()).collect()
    };
    let seccomp = &features["linux"]["seccomp"];
    let last: usize = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .expect("a number")
        .trim()
        .parse()
        .expect("a number");
    assert!(
        list(&features["linux"]["capabilities"]).len() > last,
        "every capability of this kernel has its name"
    );
    let rules: Vec<Value> = list(&seccomp["actions"])
        .iter()
        .filter(|action| *action != "SCMP_ACT_NOTIFY")
        .map(|action| json!({ "names": ["kexec_load"], "action": action }))
        .chain(list(&seccomp["operators"]).iter().map(|operator| {
            let argument = json!({ "index": 0, "value": 1, "valueTwo": 1, "op": operator });
            json!({ "names": ["reboot"], "action": "SCMP_ACT_ERRNO", "args": [argument] })
        }))
        .collect();
    let flags: Vec<String> = list(&seccomp["supportedFlags"]);
    assert_eq!(flags, list(&seccomp["knownFlags"]));
    let volume = bundle.path().join("volume");
    std::fs::create_dir(&volume).expect("a directory");
    let options: Vec<String> =
        list(&features["mountOptions"]).into_iter().filter(|option| !option.ends_with("idmap")).collect();
    assert!(
        features["linux"]["mountExtensions"]["idmap"]["enabled"] == json!(true),
        "mounts_show_mapped_ids shows it"
    );
    bundle.edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": seccomp["archs"], "flags": flags, "syscalls": rules,
        });
        for option in &options {
            // Options of a superblock are for new file systems.
            let own = ["sync", "dirsync", "lazytime", "tmpcopyup"].contains(&option.as_str());
            let mount = match own {
                true => json!({ "destination": format!("/m/{option}"), "type": "tmpfs", "source": "tmpfs", "options": [option] }),
                false => json!({ "destination": format!("/m/{option}"), "source": volume, "options": ["rbind", option] }),
            };
            spec["mounts"].as_array_mut().expect("a list").push(mount);
        }
        let listed = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        for kind in list(&features["linux"]["namespaces"]) {
            if kind != "user" && !listed.iter().any(|entry| entry["type"] == kind) {
                listed.push(json!({ "type": kind }));
            }
        }
        spec["root"]["readonly"] = json!(false);
    });
    let (code, said) = bundle.run(
        "ls /m | wc -l; for n in /proc/self/ns/*; do readlink $n; done; grep Seccomp: /proc/self/status",
    );
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with(&format!("{}\n", options.len())) && said.contains("Seccomp:\t2"), "{said}");
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "uts"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        assert!(!said.contains(&host.display().to_string()), "{name} is the container's own: {said}");
    }
    guard.finish();
}

#[test]
fn exec_takes_its_cpus_and_its_cgroup() {
    const TEST: &str = "exec_takes_its_cpus_and_its_cgroup";
    if !ready(TEST) {
        return;
    }
    let guard = harness::host::exclusive(TEST);
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000");
    let id = bundle.id.clone();
    bundle.create();
    bundle.must(&["start", &id]);
    let process = bundle.path().join("process.json");
    let run = |affinity: Value| {
        let file = json!({
            "args": ["grep", "-h", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity,
        });
        std::fs::write(&process, file.to_string()).expect("process.json");
        text(&bundle.oci(&["exec", "--process", &process.display().to_string(), &id]))
    };
    assert_eq!(run(json!({ "initial": "0", "final": "0" })), "Cpus_allowed_list:\t0\n");
    assert!(run(json!({ "final": "4000" })).contains("execCPUAffinity"));

    // Below the container's cgroup, in every hierarchy and in one.
    let made: Vec<_> = std::fs::read_dir("/sys/fs/cgroup")
        .expect("cgroups")
        .flatten()
        .map(|entry| entry.path().join(&id))
        .chain([Path::new("/sys/fs/cgroup").join(&id)])
        .filter(|path| path.exists())
        .map(|path| path.join("sub"))
        .collect();
    for path in &made {
        let _links_show_one_twice = std::fs::create_dir(path);
        // A cpuset of version 1 has nothing to run on before it is told.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let new = path.join(file);
            if let Some(own) = std::fs::read(path.with_file_name(file)).ok().filter(|_| new.exists()) {
                std::fs::write(new, own).expect("a set");
            }
        }
    }
    let cgroups = |flags: &[&str]| {
        bundle.must(&[&["exec"], flags, &[&id, "sh", "-c", "cat /proc/self/cgroup"]].concat())
    };
    let below = |said: &str| said.lines().filter(|line| line.ends_with("/sub")).count();
    let all = cgroups(&["--cgroup", "sub"]);
    assert!(below(&all) > 0 && below(&all) + 3 >= all.lines().count(), "{all}");
    assert_eq!(below(&cgroups(&[])), 0);
    if Path::new("/sys/fs/cgroup/pids").join(&id).exists() {
        let one = cgroups(&["--cgroup", "pids:sub"]);
        assert!(below(&one) == 1 && one.contains(":pids:/sub"), "{one}");
    }
    for (place, words) in
        [("nosuch", "does not exist"), ("../..", "may not lead out"), ("nosuch:sub", "no cgroup v1")]
    {
        let refused = bundle.oci(&["exec", "--cgroup", place, &id, "true"]);
        assert_eq!(refused.status.code(), Some(255), "{place}");
        assert!(text(&refused).contains(words), "{place}: {}", text(&refused));
    }
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}
