//! Fields of the specification that change what the kernel does for a container: clocks, mapped ids, listeners,
//! scheduling; and those that are refused with their name.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::oci_bundle::{Bundle, ready, text};

fn add_namespace(spec: &mut Value, kind: &str) {
    spec["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({ "type": kind }));
}

fn add_mount(spec: &mut Value, mount: Value) {
    spec["mounts"].as_array_mut().expect("a list").push(mount);
}

#[test]
fn clocks_names_and_scheduling() {
    if !ready("clocks_names_and_scheduling") {
        return;
    }
    let guard = harness::host::exclusive("clocks_names_and_scheduling");
    let mut bundle = Bundle::new(guard.tag());
    bundle.edit(|spec| {
        add_namespace(spec, "time");
        spec["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": 864_000 }, "boottime": { "secs": 8_640_000, "nanosecs": 5 } });
        spec["linux"]["personality"] = json!({ "domain": "LINUX32" });
        spec["domainname"] = json!("example.test");
        spec["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 4 });
    });
    for (line, expect) in [
        ("cat /proc/self/timens_offsets | tr -s ' '", "monotonic 864000 0\nboottime 8640000 5"),
        ("test $(cut -d. -f1 /proc/uptime) -gt 8640000 && echo later", "later"),
        ("uname -m", "i686"),
        ("cat /proc/sys/kernel/domainname", "example.test"),
        // Field 19 is the nice value, field 41 the policy: SCHED_BATCH is 3.
        ("cut -d' ' -f19,41 /proc/self/stat", "5 3"),
        ("ionice -p $$", "idle"),
    ] {
        let (code, said) = bundle.run(line);
        let said = said.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        assert_eq!(code, 0, "{line}: {said}");
        assert!(said.replace('\t', " ").contains(expect), "{line}: {said}");
    }
    guard.finish();
}

#[test]
fn mounts_show_mapped_ids() {
    if !ready("mounts_show_mapped_ids") {
        return;
    }
    let guard = harness::host::exclusive("mounts_show_mapped_ids");
    let mut bundle = Bundle::new(guard.tag());
    let path = bundle.path().to_owned();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let volume = path.join("volume");
    std::fs::create_dir(&volume).expect("a directory");
    std::fs::write(volume.join("root"), "").expect("a file");
    std::fs::write(volume.join("web"), "").expect("a file");
    std::os::unix::fs::chown(volume.join("web"), Some(1000), Some(1000)).expect("an owner");
    std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("a mode");
    let source = volume.display().to_string();
    let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 65_536 }]);

    // Without a user namespace the ids on disk are shifted by the mount alone.
    bundle.edit(|spec| {
        add_mount(
            spec,
            json!({ "destination": "/v", "source": source, "options": ["bind", "idmap"], "uidMappings": map(5000), "gidMappings": map(6000) }),
        );
    });
    let (code, said) = bundle.run("stat -c %u:%g /v/root /v/web");
    assert_eq!((code, said.as_str()), (0, "5000:6000\n6000:7000\n"));

    // In a user namespace the container's own map makes the host's root the container's root.
    bundle.edit(|spec| {
        add_namespace(spec, "user");
        spec["linux"]["uidMappings"] = map(100_000);
        spec["linux"]["gidMappings"] = map(100_000);
        let mounts = spec["mounts"].as_array_mut().expect("a list");
        let last = mounts.last_mut().expect("the volume");
        *last = json!({ "destination": "/v", "source": source, "options": ["rbind", "ridmap"] });
        mounts.push(json!({ "destination": "/plain", "source": source, "options": ["rbind"] }));
        spec["root"]["readonly"] = json!(false);
    });
    for name in ["v", "plain"] {
        std::fs::create_dir_all(bundle.rootfs().join(name)).expect("a mount point");
    }
    let (code, said) = bundle.run("stat -c %u:%g /v/root /v/web /plain/root; touch /v/new");
    assert_eq!((code, said.as_str()), (0, "0:0\n1000:1000\n65534:65534\n"));
    let made = std::fs::metadata(volume.join("new")).expect("the container's file");
    assert_eq!(
        (made.uid(), made.gid()),
        (0, 0),
        "what the container's root makes is the host root's on disk"
    );
    guard.finish();
}

#[test]
fn a_listener_answers_for_the_filter() {
    if !ready("a_listener_answers_for_the_filter") {
        return;
    }
    let guard = harness::host::exclusive("a_listener_answers_for_the_filter");
    let mut bundle = Bundle::new(guard.tag());
    let path = bundle.path().join("agent");
    let listener = UnixListener::bind(&path).expect("a socket");
    bundle.shell("mkdir /tmp/x").edit(|spec| {
        spec["annotations"] = json!({ "a": "b" });
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "listenerMetadata": "for the agent",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        });
    });
    for no_new_privileges in [true, false] {
        bundle.edit(|spec| spec["process"]["noNewPrivileges"] = json!(no_new_privileges));
        let child =
            bundle.command(&["run", &bundle.id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.expect("keelson oci starts");
        let (connection, _) = listener.accept().expect("the runtime connects");
        let (state, notifications) = receive(connection.into());
        assert_eq!(state["metadata"], "for the agent");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["state"]["id"], bundle.id.as_str());
        assert_eq!(state["state"]["annotations"]["a"], "b");
        assert_eq!(state["pid"], state["state"]["pid"]);
        let group =
            std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("the host's PID");
        assert!(group.contains(&bundle.id), "{group}");
        // A listener that goes away answers everything with ENOSYS: the kernel asked it and nobody else.
        drop(notifications);
        let output = child.wait_with_output().expect("it ends");
        assert!(text(&output).contains("not implemented"), "{}", text(&output));
    }

    // Nobody there: the container fails, and says where it looked.
    drop(listener);
    let (code, said) = bundle.run("true");
    assert_eq!(code, 1);
    assert!(said.contains("send the seccomp listener to"), "{said}");
    guard.finish();
}

/// The message and the descriptor with it.
fn receive(socket: OwnedFd) -> (Value, OwnedFd) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0u8; 16 << 10];
    let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(&socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = received.expect("a message").bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    bytes.truncate(length);
    (serde_json::from_slice(&bytes).expect("JSON"), descriptor.expect("a descriptor"))
}

#[test]
fn what_is_not_supported_is_named() {
    if !ready("what_is_not_supported_is_named") {
        return;
    }
    let guard = harness::host::exclusive("what_is_not_supported_is_named");
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 16] = [
        ("linux.intelRdt", |s| s["linux"]["intelRdt"] = json!({ "closID": "x" })),
        ("linux.mountLabel", |s| s["linux"]["mountLabel"] = json!("system_u:object_r:x")),
        ("process.selinuxLabel", |s| s["process"]["selinuxLabel"] = json!("system_u:system_r:x")),
        ("linux.netDevices", |s| s["linux"]["netDevices"] = json!({ "eth0": {} })),
        ("leafWeight", |s| {
            s["linux"]["resources"]["blockIO"] = json!({ "leafWeight": 10 });
        }),
        ("linux.memoryPolicy", |s| s["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" })),
        ("linux.personality.flags", |s| {
            s["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["X"] })
        }),
        ("linux.timeOffsets", |s| s["linux"]["timeOffsets"] = json!({ "monotonic": { "secs": 1 } })),
        ("linux.uidMappings", |s| {
            s["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
        }),
        ("ociVersion `2.0.0`", |s| s["ociVersion"] = json!("2.0.0")),
        ("hooks.timeout", |s| {
            s["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true", "timeout": 0 }] })
        }),
        ("hooks.path", |s| s["hooks"] = json!({ "createRuntime": [{ "path": "true" }] })),
        ("apparmor", |s| s["process"]["apparmorProfile"] = json!("no-such-profile")),
        ("only a bind mount", |s| {
            let map = json!([{ "containerID": 0, "hostID": 1, "size": 1 }]);
            add_mount(
                s,
                json!({ "destination": "/x", "type": "tmpfs", "uidMappings": map, "gidMappings": map }),
            );
        }),
        ("SCMP_ACT_NOTIFY needs it", |s| {
            let call = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
            s["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": call });
        }),
        ("mount namespace", |s| {
            s["linux"]["namespaces"].as_array_mut().expect("a list").retain(|n| n["type"] != "mount");
        }),
    ];
    for (words, change) in cases {
        let mut bundle = Bundle::new(guard.tag());
        bundle.edit(change);
        let (code, said) = bundle.run("true");
        assert_eq!(code, 1, "{words}: {said}");
        assert!(said.to_lowercase().contains(&words.to_lowercase()), "{words}: {said}");
    }
    guard.finish();
}

#[test]
fn a_service_manager_hears_that_the_container_is_ready() {
    if !ready("a_service_manager_hears_that_the_container_is_ready") {
        return;
    }
    let guard = harness::host::exclusive("a_service_manager_hears_that_the_container_is_ready");
    let mut bundle = Bundle::new(guard.tag());
    let path = bundle.path().join("manager");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    // busybox has no datagram client for unix sockets; the container's socket is reached from outside by its process.
    bundle.shell("echo $NOTIFY_SOCKET $LISTEN_FDS $LISTEN_PID; test -d /run/notify && exec sleep 1000");
    let id = bundle.id.clone();
    let out = bundle.path().join("out");
    let create = bundle
        .command(&["create", &id])
        .env("NOTIFY_SOCKET", &path)
        .stdout(std::fs::File::create(&out).expect("a file"))
        .stderr(Stdio::null())
        .status();
    assert!(create.expect("keelson oci starts").success());
    let state: Value = serde_json::from_str(&bundle.must(&["state", &id])).expect("JSON");
    let mut start = bundle.command(&["start", &id]).env("NOTIFY_SOCKET", &path).spawn().expect("it starts");
    let inside = format!("/proc/{}/root/run/notify/notify.sock", state["pid"]);
    let program = UnixDatagram::unbound().expect("a socket");
    let began = std::time::Instant::now();
    while program.send_to(b"STATUS=soon\nREADY=1\n", &inside).is_err() {
        assert!(began.elapsed().as_secs() < 60, "{inside} is there");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut buffer = [0u8; 128];
        let length = manager.recv(&mut buffer).expect("a message");
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    assert_eq!(heard, ["READY=1\n".to_owned(), format!("MAINPID={}\n", state["pid"])]);
    assert!(start.wait().expect("start leaves").success());
    let mut said = String::new();
    // The program has only been let go, and may be slow.
    while said.is_empty() {
        assert!(began.elapsed().as_secs() < 60, "it says something");
        std::fs::File::open(&out).and_then(|mut file| file.read_to_string(&mut said)).expect("its output");
    }
    assert_eq!(said.trim(), "/run/notify/notify.sock");
    bundle.must(&["delete", "--force", &id]);
    guard.finish();
}
