//! `keelson oci` from create to delete: states, exit codes, exec, signals, hooks, and that a failure at any
//! step leaves nothing.

use std::process::Stdio;

use serde_json::json;

use crate::oci_bundle::{Bundle, ready, text};

#[test]
fn create_start_state_kill_delete() {
    if !ready("create_start_state_kill_delete") {
        return;
    }
    let guard = harness::host::exclusive("create_start_state_kill_delete");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("trap 'exit 3' TERM; echo ready > /dev/null; sleep 1000 & wait");
    let id = bundle.id.clone();
    bundle.create();
    assert_eq!(bundle.status(), "created");
    let again = bundle.oci(&["create", &id]);
    assert_eq!((again.status.code(), text(&again).contains("already exists")), (Some(1), true));
    bundle.must(&["start", &id]);
    assert_eq!(bundle.status(), "running");
    assert!(bundle.must(&["list"]).contains(&id));
    assert_eq!(bundle.must(&["list", "--quiet"]).trim(), id);
    for (arguments, words) in [
        (vec!["start", &id], "already running"),
        (vec!["delete", &id], "is not stopped: running"),
        (vec!["kill", &id, "NOPE"], "unknown signal"),
        (vec!["state", "nobody"], "container does not exist"),
        (vec!["kill", "nobody"], "container does not exist"),
        (vec!["delete", "nobody"], "container does not exist"),
        (vec!["state", "../x"], "invalid container ID format"),
    ] {
        let refused = bundle.oci(&arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(text(&refused).contains(words), "{arguments:?}: {}", text(&refused));
    }
    bundle.must(&["kill", &id, "KILL"]);
    wait_until_stopped(&bundle);
    let late = bundle.oci(&["kill", &id]);
    assert!(text(&late).contains("container not running"), "{}", text(&late));
    let late = bundle.oci(&["exec", &id, "true"]);
    assert_eq!(late.status.code(), Some(255));
    assert!(text(&late).contains("cannot exec in a stopped container"), "{}", text(&late));
    bundle.must(&["delete", &id]);
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

fn wait_until_stopped(bundle: &Bundle) {
    for _ in 0..3_000 {
        if bundle.status() == "stopped" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("not stopped after 60 s");
}

#[test]
fn codes_of_run_and_exec() {
    if !ready("codes_of_run_and_exec") {
        return;
    }
    let guard = harness::host::exclusive("codes_of_run_and_exec");
    let mut bundle = Bundle::new(guard.tag());
    for (line, code) in [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$; exit 1", 1)] {
        assert_eq!(bundle.run(line).0, code, "{line}");
    }
    // Not PID 1, which ignores what it does not handle.
    bundle.edit(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|entry| entry["type"] != "pid");
    });
    assert_eq!(bundle.run("kill -KILL $$").0, 137);

    bundle.shell("sleep 1000");
    let id = bundle.id.clone();
    bundle.create();
    bundle.must(&["start", &id]);
    for (command, code, words) in [
        (vec!["sh", "-c", "exit 9"], 9, ""),
        (vec!["sh", "-c", "kill -KILL $$"], 137, ""),
        (vec!["nosuch"], 255, "executable file not found in $PATH"),
        (vec!["/nosuch"], 255, "no such file or directory"),
        (vec!["/etc/passwd"], 255, "permission denied"),
        (vec!["/etc"], 255, "permission denied"),
    ] {
        let mut arguments = vec!["exec", &id];
        arguments.extend(&command);
        let output = bundle.oci(&arguments);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", text(&output));
        assert!(text(&output).contains(words), "{command:?}: {}", text(&output));
    }
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

#[test]
fn a_program_that_cannot_start_leaves_nothing() {
    if !ready("a_program_that_cannot_start_leaves_nothing") {
        return;
    }
    let guard = harness::host::exclusive("a_program_that_cannot_start_leaves_nothing");
    let mut bundle = Bundle::new(guard.tag());
    let id = bundle.id.clone();
    std::fs::write(bundle.rootfs().join("bin/garbage"), "\u{7f}ELF but not really").expect("a file");
    std::fs::set_permissions(
        bundle.rootfs().join("bin/garbage"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("a mode");
    for (program, words) in
        [("nosuch", "executable file not found in $PATH"), ("garbage", "Exec format error")]
    {
        bundle.edit(|spec| spec["process"]["args"] = json!([program]));
        let output = bundle.oci(&["run", &id]);
        assert_eq!(output.status.code(), Some(1), "{program}");
        assert!(text(&output).contains(words), "{program}: {}", text(&output));
        assert_eq!(bundle.must(&["list", "--quiet"]), "");
    }
    let log = bundle.path().join("log.json");
    bundle.edit(|spec| spec["process"]["args"] = json!(["nosuch"]));
    let log_text = log.to_str().expect("UTF-8");
    let output = bundle.oci(&["--log", log_text, "--log-format", "json", "run", &id]);
    assert_eq!(output.status.code(), Some(1));
    let line: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&log).expect("a log")).expect("one JSON line");
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().is_some_and(|said| said.contains("executable file not found")), "{line}");
    let time = line["time"].as_str().unwrap_or_default();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "RFC 3339: {line}");
    guard.finish();
}

#[test]
fn a_fault_at_any_step_of_create_leaves_nothing() {
    if !ready("a_fault_at_any_step_of_create_leaves_nothing") {
        return;
    }
    let guard = harness::host::exclusive("a_fault_at_any_step_of_create_leaves_nothing");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000");
    let id = bundle.id.clone();
    let pid_file = bundle.path().join("pid");
    let mut failed = 0;
    for step in 0.. {
        let status = bundle
            .command(&["create", "--pid-file", pid_file.to_str().expect("UTF-8"), &id])
            .env("KEELSON_OCI_FAIL_AT", step.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("keelson oci starts");
        if status.success() {
            break;
        }
        failed += 1;
        assert_eq!(bundle.must(&["list", "--quiet"]), "", "step {step}");
        assert!(!bundle.path().join("state/v1").join(&id).exists(), "step {step}");
        assert!(!pid_file.exists(), "step {step}");
        assert!(cgroups_of(&id).is_empty(), "step {step}: {:?}", cgroups_of(&id));
    }
    if failed == 0 {
        harness::skip("a_fault_at_any_step_of_create_leaves_nothing", "a release build injects no faults");
    }
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

#[test]
fn a_delete_that_failed_can_be_repeated() {
    if !ready("a_delete_that_failed_can_be_repeated") {
        return;
    }
    let guard = harness::host::exclusive("a_delete_that_failed_can_be_repeated");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000");
    let id = bundle.id.clone();
    for step in 0..4 {
        bundle.create();
        bundle.must(&["start", &id]);
        let faulty = bundle
            .command(&["delete", "--force", &id])
            .env("KEELSON_OCI_DELETE_FAIL_AT", step.to_string())
            .output()
            .expect("keelson oci starts");
        if faulty.status.success() {
            harness::skip("a_delete_that_failed_can_be_repeated", "a release build injects no faults");
            break;
        }
        bundle.must(&["delete", "--force", &id]);
        assert!(cgroups_of(&id).is_empty(), "step {step}");
    }
    guard.finish();
}

/// The container's directories in all hierarchies.
fn cgroups_of(id: &str) -> Vec<std::path::PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    hierarchies.map(|entry| entry.path().join(id)).filter(|path| path.exists()).collect()
}

#[test]
fn pause_resume_update_ps_events() {
    if !ready("pause_resume_update_ps_events") {
        return;
    }
    let guard = harness::host::exclusive("pause_resume_update_ps_events");
    let mut bundle = Bundle::new(guard.tag());
    bundle.shell("sleep 1000").edit(|spec| {
        spec["linux"]["resources"] = json!({ "memory": { "limit": 67_108_864 }, "pids": { "limit": 50 } });
    });
    let id = bundle.id.clone();
    bundle.create();
    bundle.start("sleep 1000");
    bundle.must(&["pause", &id]);
    assert_eq!(bundle.status(), "paused");
    let refused = bundle.oci(&["exec", &id, "true"]);
    assert!(text(&refused).contains("paused container"), "{}", text(&refused));
    bundle.must(&["resume", &id]);
    assert_eq!(bundle.status(), "running");
    assert!(bundle.must(&["ps", &id]).contains("sleep 1000"));
    let pids: Vec<i32> = serde_json::from_str(&bundle.must(&["ps", "--format", "json", &id])).expect("JSON");
    assert_eq!(pids.len(), 1);
    let stats = |bundle: &Bundle| -> serde_json::Value {
        serde_json::from_str(&bundle.must(&["events", "--stats", &id])).expect("JSON")
    };
    assert_eq!(stats(&bundle)["data"]["memory"]["usage"]["limit"], 67_108_864);
    bundle.must(&["update", "--memory", "128M", "--pids-limit", "20", &id]);
    assert_eq!(stats(&bundle)["data"]["memory"]["usage"]["limit"], 134_217_728);
    assert_eq!(stats(&bundle)["data"]["pids"]["limit"], 20);
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}

#[test]
fn hooks_run_at_their_points_with_the_state() {
    if !ready("hooks_run_at_their_points_with_the_state") {
        return;
    }
    let guard = harness::host::exclusive("hooks_run_at_their_points_with_the_state");
    let mut bundle = Bundle::new(guard.tag());
    let out = bundle.path().join("hooks");
    std::fs::write(bundle.rootfs().join("started"), "").expect("a file");
    let hook = |name: &str| {
        let line = format!("echo {name} $OWN $(readlink /proc/self/ns/mnt) $(cat) >> {}", out.display());
        json!([{ "path": "/bin/busybox", "args": ["sh", "-c", line], "env": ["OWN=environment"], "timeout": 60 }])
    };
    bundle.edit(|spec| {
        spec["root"]["readonly"] = json!(false);
        spec["hooks"] = json!({
            "prestart": hook("prestart"),
            "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"),
            "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "cat > /started"] }],
            "poststart": hook("poststart"),
            "poststop": hook("poststop"),
        });
    });
    let (code, said) = bundle.run("cat /started");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"pid\":1") && said.contains("\"status\":\"created\""), "{said}");
    let lines = std::fs::read_to_string(&out).expect("hooks ran");
    let here = std::fs::read_link("/proc/self/ns/mnt").expect("a namespace").display().to_string();
    let told: Vec<(&str, bool, String)> = lines
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            assert_eq!(words[1], "environment", "{line}");
            let state: serde_json::Value = serde_json::from_str(words[3]).expect("the state");
            assert_eq!(state["id"], bundle.id.as_str(), "{line}");
            (words[0], words[2] == here, state["status"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let told: Vec<(&str, bool, &str)> =
        told.iter().map(|(name, here, status)| (*name, *here, status.as_str())).collect();
    // The third says whether it ran in the runtime's own mount namespace.
    let expected = [
        ("prestart", true, "creating"),
        ("createRuntime", true, "creating"),
        ("createContainer", false, "creating"),
        ("poststart", true, "running"),
        ("poststop", true, "stopped"),
    ];
    assert_eq!(told, expected);

    // One that hangs fails the container within its timeout, and leaves nothing.
    bundle.edit(|spec| {
        let hang = json!([{ "path": "/bin/busybox", "args": ["sleep", "1000"], "timeout": 1 }]);
        spec["hooks"] = json!({ "createRuntime": hang });
    });
    let (code, said) = bundle.run("true");
    assert_eq!(code, 1);
    assert!(said.contains("did not end in 1 s"), "{said}");
    // Nor does it hang when the state is more than a pipe holds and nobody reads it.
    bundle.edit(|spec| spec["annotations"] = json!({ "long": "x".repeat(100_000) }));
    let (code, said) = bundle.run("true");
    assert_eq!(code, 1);
    assert!(said.contains("did not end in 1 s"), "{said}");
    guard.finish();
}

#[test]
fn a_hook_that_fails_fails_what_has_not_happened_yet() {
    if !ready("a_hook_that_fails_fails_what_has_not_happened_yet") {
        return;
    }
    let guard = harness::host::exclusive("a_hook_that_fails_fails_what_has_not_happened_yet");
    let mut bundle = Bundle::new(guard.tag());
    let after = bundle.path().join("after");
    let own = bundle.rootfs().join("after");
    bundle.edit(|spec| spec["root"]["readonly"] = json!(false));
    for (point, fails) in [
        ("prestart", true),
        ("createRuntime", true),
        ("createContainer", true),
        ("startContainer", true),
        ("poststart", false),
        ("poststop", false),
    ] {
        let (shell, next) = match point {
            "startContainer" => ("/bin/sh", "/after".to_owned()),
            _ => ("/bin/busybox", after.display().to_string()),
        };
        bundle.edit(|spec| {
            spec["hooks"] = json!({ point: [
                { "path": shell, "args": ["sh", "-c", "exit 3"] },
                { "path": shell, "args": ["sh", "-c", format!("echo x > {next}")] },
            ] });
        });
        let (code, said) = bundle.run("echo ran; exit 7");
        assert!(said.contains("ended with code 3"), "{point}: {said}");
        let next_ran = after.exists() || own.exists();
        let expect = if fails { (1, false, false) } else { (7, true, true) };
        assert_eq!((code, said.contains("ran\n"), next_ran), expect, "{point}: {said}");
        assert_eq!(bundle.must(&["list", "--quiet"]), "", "{point}");
        assert!(cgroups_of(&bundle.id).is_empty(), "{point}");
        let _none = std::fs::remove_file(&after);
    }
    guard.finish();
}
