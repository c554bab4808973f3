//! Containers over the CRI: life and death, exits, limits, users, mounts, events, and a daemon that dies.

use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{
    Capability, ContainerEventType, ContainerState, ContainerStatsRequest, Device, Int64Value,
    LinuxContainerResources, Mount, NamespaceMode, NamespaceOption, RemoveContainerRequest, SecurityProfile,
    Signal, UpdateContainerResourcesRequest,
};
use serde_json::json;
use tonic::Code;

use super::cri_node::{Client, stage, with_pid_mode};

/// A sandbox in the host's network: these tests need none.
async fn sandbox(client: &mut Client, name: &str) -> (String, cri_api::v1::PodSandboxConfig) {
    let mut pod = client.pod(name);
    let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
    let network = NamespaceMode::Node.into();
    let pid = NamespaceMode::Container.into();
    security.namespace_options = Some(NamespaceOption { network, pid, ..Default::default() });
    (client.run(&pod).await.expect("a sandbox"), pod)
}

#[test]
fn a_container_lives_and_dies() {
    stage("a_container_lives_and_dies", async |_, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "life").await;
        let mut events = client.events().await;
        let script = "trap 'echo bye; exit 3' TERM; echo hello; echo oops >&2; while :; do sleep 0.1; done";
        let id = client.create(&pod_id, &pod, client.container("c", script)).await.expect("created");
        let taken =
            client.create(&pod_id, &pod, client.container("c", script)).await.expect_err("the name is taken");
        assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");
        assert_eq!(client.status(&id).await.unwrap().state(), ContainerState::ContainerCreated);
        assert_eq!(
            client.exec(&id, "true").await.expect_err("it does not run").code(),
            Code::FailedPrecondition
        );
        client.start(&id).await.expect("started");
        assert_eq!(client.start(&id).await.expect_err("it runs").code(), Code::FailedPrecondition);
        client.until_logged("life", "c", "stderr F oops").await;
        assert_eq!(client.output(&id, "echo $((6*7))").await, "42");
        let failed = client.exec(&id, "echo no >&2; exit 9").await.unwrap();
        assert_eq!((failed.exit_code, failed.stderr.as_ref()), (9, b"no\n".as_slice()));
        client.stop(&id, 20).await.expect("stopped");
        let status = client.status(&id).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
        assert!(
            status.started_at >= status.created_at && status.finished_at > status.started_at,
            "{status:?}"
        );
        let log = client.log("life", "c");
        for line in ["stdout F hello", "stderr F oops", "stdout F bye"] {
            assert!(log.contains(line), "{log}");
        }
        client
            .runtime
            .remove_container(RemoveContainerRequest { container_id: id.clone() })
            .await
            .expect("removed");
        assert_eq!(client.status(&id).await.expect_err("gone").code(), Code::NotFound);
        assert_eq!(client.start(&id).await.expect_err("gone").code(), Code::NotFound);
        client.stop(&id, 0).await.expect("what is not there is stopped");
        use ContainerEventType::{
            ContainerCreatedEvent, ContainerDeletedEvent, ContainerStartedEvent, ContainerStoppedEvent,
        };
        for kind in
            [ContainerCreatedEvent, ContainerStartedEvent, ContainerStoppedEvent, ContainerDeletedEvent]
        {
            let event = events.message().await.unwrap().expect("an event");
            assert_eq!((event.container_event_type(), event.container_id.as_str()), (kind, id.as_str()));
            assert!(event.pod_sandbox_status.is_some());
        }
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn ends_have_reasons() {
    stage("ends_have_reasons", async |_, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "ends").await;
        for (name, script, code, reason) in [
            ("ok", "exit 0", 0, "Completed"),
            ("code", "exit 42", 42, "Error"),
            ("signal", "kill -9 $$; sleep 9", 137, "Error"),
            ("oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1", 137, "OOMKilled"),
        ] {
            let mut config = client.container(name, script);
            if name == "oom" {
                let linux = config.linux.get_or_insert_default();
                linux.resources =
                    Some(LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..Default::default() });
            }
            // A first process is deaf to its own SIGKILL: it needs a parent's PID namespace.
            if name == "signal" {
                with_pid_mode(&mut config, NamespaceMode::Pod);
            }
            let id = client.create(&pod_id, &pod, config).await.expect("created");
            client.start(&id).await.expect("started");
            let status = client.exited(&id).await;
            assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{name}");
        }
        let mut config = client.container("missing", "");
        config.command = vec!["/no/such/program".into()];
        let id = client.create(&pod_id, &pod, config).await.expect("created");
        let refusal = client.start(&id).await.expect_err("there is no program");
        let status = client.status(&id).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"), "{refusal}");
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn a_container_is_what_was_asked_for() {
    stage("a_container_is_what_was_asked_for", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "asked").await;
        let shared = stage.folder.path().join("shared");
        let mut config = client.container("c", "sleep 600");
        config.envs.push(cri_api::v1::KeyValue { key: "COLOUR".into(), value: "blue".into() });
        config.working_dir = "/tmp".into();
        config.mounts = vec![
            Mount {
                container_path: "/data".into(),
                host_path: shared.display().to_string(),
                ..Default::default()
            },
            Mount {
                container_path: "/ro".into(),
                host_path: shared.display().to_string(),
                readonly: true,
                ..Default::default()
            },
        ];
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.run_as_user = Some(Int64Value { value: 1234 });
        security.run_as_group = Some(Int64Value { value: 2345 });
        security.supplemental_groups = vec![77];
        security.readonly_rootfs = true;
        security.no_new_privs = true;
        security.seccomp =
            Some(SecurityProfile { profile_type: ProfileType::RuntimeDefault.into(), ..Default::default() });
        security.capabilities =
            Some(Capability { drop_capabilities: vec!["ALL".into()], ..Default::default() });
        let id = client.create(&pod_id, &pod, config).await.expect("created");
        client.start(&id).await.expect("started");
        for (script, expect) in [
            ("id -u; id -g", "1234\n2345"),
            ("id -G | tr ' ' '\\n' | sort -n | tail -1", "2345"),
            ("echo $COLOUR $PWD", "blue /tmp"),
            ("grep NoNewPrivs /proc/self/status | tr -s '\\t' ' '", "NoNewPrivs: 1"),
            ("grep Seccomp: /proc/self/status | tr -s '\\t' ' '", "Seccomp: 2"),
            ("grep CapBnd /proc/self/status | cut -f2", "0000000000000000"),
            ("touch /x 2>/dev/null || echo no", "no"),
            ("touch /ro/x 2>/dev/null || echo no", "no"),
            ("cat /proc/kcore 2>/dev/null | head -c1 | wc -c", "0"),
            ("ls -d /data", "/data"),
            ("echo by name >/dev/stdout", "by name"),
        ] {
            assert_eq!(client.output(&id, script).await, expect, "{script}");
        }
        let status = client.status(&id).await.unwrap();
        let user = status.user.and_then(|user| user.linux).expect("a user");
        assert_eq!((user.uid, user.gid, user.supplemental_groups), (1234, 2345, vec![2345, 77]));
        let update = LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            ..Default::default()
        };
        let request = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(update),
            ..Default::default()
        };
        client.runtime.update_container_resources(request).await.expect("updated");
        let resources =
            client.status(&id).await.unwrap().resources.and_then(|resources| resources.linux).unwrap();
        assert_eq!((resources.memory_limit_in_bytes, resources.cpu_shares), (64 << 20, 512));
        let request = ContainerStatsRequest { container_id: id.clone() };
        let stats =
            client.runtime.container_stats(request).await.expect("statistics").into_inner().stats.unwrap();
        let available = stats.memory.and_then(|memory| memory.available_bytes).expect("a limit").value;
        assert!(available > 32 << 20 && available <= 64 << 20, "{available}");
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn a_pod_can_share_its_processes() {
    stage("a_pod_can_share_its_processes", async |_, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "share").await;
        let mut ids = Vec::new();
        for name in ["a", "b"] {
            let mut config = client.container(name, "sleep 600");
            with_pid_mode(&mut config, NamespaceMode::Pod);
            let id = client.create(&pod_id, &pod, config).await.expect("created");
            client.start(&id).await.expect("started");
            ids.push(id);
        }
        let seen = client.output(&ids[1], "ps | grep -c '[s]leep 600'").await;
        assert_eq!(seen, "2", "each sees the other");
        let guarded =
            "cat /proc/1/environ 2>/dev/null || echo refused; grep ^Seccomp: /proc/1/status | tr -dc 0-9";
        assert_eq!(client.output(&ids[1], guarded).await, "refused\n2", "nobody acts in the init's place");
        let mut config = client.container("t", "sleep 700");
        with_pid_mode(&mut config, NamespaceMode::Target);
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().target_id = ids[0].clone();
        let mut late = config.clone();
        late.metadata.get_or_insert_default().name = "late".into();
        let id = client.create(&pod_id, &pod, config).await.expect("created");
        let late = client.create(&pod_id, &pod, late).await.expect("created");
        client.start(&id).await.expect("started");
        let number = host_pid(&client.output(&ids[0], "cat /proc/self/cgroup").await);
        client.stop(&ids[0], 0).await.expect("killed");
        let _stranger = with_number(number);
        let refused = client.start(&late).await.expect_err("the target is gone, whoever has its number now");
        assert!(refused.message().contains("CONTAINER_EXITED"), "{refused}");
        assert_eq!(client.status(&ids[1]).await.unwrap().state(), ContainerState::ContainerRunning);
        client.end(&pod_id).await.expect("removed");
    });
}

/// The first process of a container by its cgroup.
fn host_pid(cgroups: &str) -> i32 {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup of version 2");
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let mounted = table.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup2");
    let root = mounted.split(' ').nth(4).expect("a mount point");
    let members = std::fs::read_to_string(format!("{root}{path}/cgroup.procs")).expect("members");
    members.lines().next().and_then(|line| line.parse().ok()).expect("a PID")
}

/// A process of the host with this number, unless the host's others were quicker each time.
fn with_number(pid: i32) -> Option<Ended> {
    (0..100).find_map(|_| {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let made = Ended(std::process::Command::new("sleep").arg("600").spawn().expect("sleep runs"));
        (made.0.id().cast_signed() == pid).then_some(made)
    })
}

/// Killed at the end.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn a_daemon_that_dies_changes_nothing() {
    stage("a_daemon_that_dies_changes_nothing", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "again").await;
        let running =
            client.create(&pod_id, &pod, client.container("run", "sleep 600")).await.expect("created");
        let ending =
            client.create(&pod_id, &pod, client.container("end", "read x < /gate; exit 5")).await.unwrap();
        let created = client.create(&pod_id, &pod, client.container("new", "exit 0")).await.expect("created");
        client.start(&running).await.expect("started");
        client.start(&ending).await.expect("started");
        client.output(&running, "mkfifo /tmp/x").await;
        let before = client.status(&running).await.unwrap();
        let started = client.output(&running, "cut -d' ' -f22 /proc/1/stat").await;
        stage.kill();
        // It ends while nobody serves: its gate does not exist, so it has by now or will at once.
        stage.start();
        let mut client = stage.connect().await;
        assert_eq!(client.status(&running).await.unwrap(), before, "nothing changed");
        assert_eq!(client.output(&running, "cut -d' ' -f22 /proc/1/stat").await, started, "the same process");
        let ended = client.exited(&ending).await;
        assert_eq!(ended.exit_code, 5, "the end is known: {ended:?}");
        client.start(&created).await.expect("one that was only created can be started");
        assert_eq!(client.exited(&created).await.exit_code, 0);
        client.stop(&running, 0).await.expect("killed");
        assert_eq!(client.status(&running).await.unwrap().exit_code, 137);
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn half_of_a_container_is_taken_back() {
    stage("half_of_a_container_is_taken_back", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "half").await;
        let id = client.create(&pod_id, &pod, client.container("c", "exit 0")).await.expect("created");
        stage.kill();
        let record = stage.folder.path().join("root/containers").join(&id).join("record.json");
        let text = std::fs::read_to_string(&record).expect("a record");
        assert!(text.contains(r#""phase":"Created""#), "{text}");
        std::fs::write(&record, text.replace("Created", "Making")).expect("half a container");
        let damaged = stage.folder.path().join("root/containers").join("d".repeat(64));
        std::fs::create_dir(&damaged).expect("a folder");
        std::fs::write(damaged.join("record.json"), "{").expect("a torn record");
        stage.start();
        let mut client = stage.connect().await;
        assert_eq!(client.status(&id).await.expect_err("taken back").code(), Code::NotFound);
        assert!(!record.exists() && !damaged.exists(), "nothing of them is left");
        client.create(&pod_id, &pod, client.container("c", "exit 0")).await.expect("the name is free");
        client.end(&pod_id).await.expect("removed");
    });
}

/// Waits, inside, for what the first process makes.
async fn made(client: &mut Client, container: &str, path: &str) {
    client.output(container, &format!("until [ -e {path} ]; do usleep 5000; done")).await;
}

#[test]
fn the_signal_that_was_asked_for_stops_it() {
    stage("the_signal_that_was_asked_for_stops_it", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "signals").await;
        let plain = client.image.clone();
        let built = harness::image::busybox().expect("it was there").set("StopSignal", "SIGUSR2".into());
        let named = stage.registry.push("usr2", "v1", &built.build());
        client.image.image = named;
        client.pull().await.expect("pulled");
        let named = client.image.clone();
        // What it was sent is its exit code.
        let script =
            "for s in 1 2 3 10 12 15; do trap \"exit $s\" $s; done; touch /tmp/ready; sleep 600 & wait";
        use Signal::{RuntimeDefault, Sigquit, Sigterm, Sigusr1, Sigusr2};
        for (name, image, asked, sent, code) in [
            ("none", &plain, RuntimeDefault, Sigterm, 15),
            ("request", &plain, Sigusr1, Sigusr1, 10),
            ("image", &named, RuntimeDefault, Sigusr2, 12),
            ("both", &named, Sigquit, Sigquit, 3),
        ] {
            client.image = image.clone();
            let mut config = client.container(name, script);
            config.stop_signal = asked.into();
            let id = client.create(&pod_id, &pod, config).await.expect("created");
            client.start(&id).await.expect("started");
            made(&mut client, &id, "/tmp/ready").await;
            assert_eq!(client.status(&id).await.unwrap().stop_signal(), sent, "{name}");
            client.stop(&id, 60).await.expect("stopped");
            let status = client.status(&id).await.unwrap();
            assert_eq!((status.exit_code, status.reason.as_str()), (code, "Error"), "{name}");
        }
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn a_profile_of_the_host_denies_what_it_names() {
    stage("a_profile_of_the_host_denies_what_it_names", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "profile").await;
        let path = stage.folder.path().join("no-folders.json");
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        ]});
        std::fs::write(&path, profile.to_string()).expect("a profile");
        let of = |reference: String| SecurityProfile {
            profile_type: ProfileType::Localhost.into(),
            localhost_ref: reference,
        };
        let script = "mkdir /tmp/folder; touch /tmp/file; sleep 600";
        let mut config = client.container("c", script);
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.seccomp = Some(of(path.display().to_string()));
        let id = client.create(&pod_id, &pod, config.clone()).await.expect("created");
        client.start(&id).await.expect("started");
        made(&mut client, &id, "/tmp/file").await;
        assert_eq!(client.output(&id, "ls /tmp").await, "file", "the first process");
        let denied = client.output(&id, "mkdir /tmp/other 2>&1; rm /tmp/file && echo else").await;
        assert!(denied.contains("No space left") && denied.ends_with("else"), "a later one: {denied}");
        std::fs::write(&path, r#"{"defaultAction": "SCMP_ACT_WISH"}"#).expect("no profile");
        let missing = stage.folder.path().join("nothing.json");
        for reference in [path, missing] {
            let mut config = config.clone();
            config.metadata.get_or_insert_default().name = "refused".into();
            let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            security.seccomp = Some(of(reference.display().to_string()));
            let refusal = client.create(&pod_id, &pod, config).await.expect_err("no profile");
            assert!(refusal.message().contains("failed to load seccomp profile"), "{refusal}");
            assert!(refusal.message().contains(&reference.display().to_string()), "{refusal}");
        }
        client.end(&pod_id).await.expect("removed");
    });
}

#[test]
fn a_device_is_there_with_its_rights() {
    stage("a_device_is_there_with_its_rights", async |stage, mut client| {
        let (pod_id, pod) = sandbox(&mut client, "device").await;
        // The kernel's log: no container has it unasked, and opening it changes nothing.
        let host = stage.folder.path().join("host-kmsg").display().to_string();
        let made = std::process::Command::new("mknod").args(["-m", "666", &host, "c", "1", "11"]).status();
        assert!(made.expect("mknod runs").success());
        let read = "(true </dev/kept) 2>/dev/null && echo read";
        let write = "(true >/dev/kept) 2>/dev/null && echo write";
        for (rights, expect) in [("r", "read"), ("w", "write"), ("rw", "read write"), ("m", "")] {
            let mut config = client.container(rights, "sleep 600");
            config.devices = vec![Device {
                container_path: "/dev/kept".into(),
                host_path: host.clone(),
                permissions: rights.into(),
            }];
            let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            // Else the driver itself refuses readers.
            security.capabilities =
                Some(Capability { add_capabilities: vec!["SYSLOG".into()], ..Default::default() });
            let id = client.create(&pod_id, &pod, config).await.expect("created");
            client.start(&id).await.expect("started");
            assert_eq!(
                client.output(&id, "stat -c '%F %t %T' /dev/kept").await,
                "character special file 1 b"
            );
            let may = client.output(&id, &format!("{read}; {write}; true")).await;
            assert_eq!(may.replace('\n', " "), expect, "{rights}");
        }
        let mut config = client.container("wrong", "sleep 600");
        config.devices =
            vec![Device { host_path: host, permissions: "rx".into(), container_path: String::new() }];
        let refusal = client.create(&pod_id, &pod, config).await.expect_err("there is no right x");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        client.end(&pod_id).await.expect("removed");
    });
}
