//! Pods with ids of their own (hostUsers: false): what is root inside is nobody outside.

use std::os::unix::fs::MetadataExt as _;

use cri_api::v1::{
    IdMapping, Int64Value, Mount, NamespaceMode, PodSandboxConfig, StatusRequest, UserNamespace,
};
use tonic::Code;

use super::cri_node::{Client, maps_tmpfs_or_skip, stage, write_network};

const BASE: u32 = 200_000;

fn with_own_ids(pod: &mut PodSandboxConfig, pid: NamespaceMode) {
    let rows = vec![IdMapping { container_id: 0, host_id: BASE, length: 65_536 }];
    let user = UserNamespace { mode: NamespaceMode::Pod.into(), uids: rows.clone(), gids: rows };
    let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
    let options = security.namespace_options.get_or_insert_default();
    options.userns_options = Some(user);
    options.pid = pid.into();
}

#[test]
fn root_of_a_pod_with_its_own_ids_is_nobody_outside() {
    const TEST: &str = "root_of_a_pod_with_its_own_ids_is_nobody_outside";
    stage(TEST, async |stage, mut client| {
        let status = client.runtime.status(StatusRequest::default()).await.expect("a status").into_inner();
        let able = status.runtime_handlers.iter().all(|h| h.features.is_some_and(|f| f.user_namespaces));
        if !maps_tmpfs_or_skip(TEST) {
            assert!(!able, "this kernel cannot: {:?}", status.runtime_handlers);
            let mut pod = client.pod("own");
            with_own_ids(&mut pod, NamespaceMode::Container);
            let refused = client.run(&pod).await.expect_err("no pod has ids of its own here");
            assert!(refused.message().contains("use Linux 6.3 or later"), "{refused}");
            return;
        }
        assert!(able, "this host can: {:?}", status.runtime_handlers);
        write_network(&mut client, "10.213.9.0/24").await;
        let shared = stage.folder.path().join("shared");
        std::fs::create_dir(&shared).expect("a folder");
        for pid in [NamespaceMode::Container, NamespaceMode::Pod] {
            one_pod(stage, &mut client, &shared, pid).await;
        }
        refusals(&mut client).await;
    });
}

async fn one_pod(
    stage: &mut super::cri_node::Stage,
    client: &mut Client,
    shared: &std::path::Path,
    pid: NamespaceMode,
) {
    let mut pod = client.pod("own");
    with_own_ids(&mut pod, pid);
    pod.linux.get_or_insert_default().sysctls.insert("kernel.shmmni".into(), "777".into());
    let pod_id = client.run(&pod).await.expect("a sandbox");
    let mut config = client.container("c", "echo by name > /dev/stdout; exec sleep 600");
    super::cri_node::with_pid_mode(&mut config, pid);
    let rows = vec![IdMapping { container_id: 0, host_id: BASE, length: 65_536 }];
    let bind = |target: &str| Mount {
        container_path: target.into(),
        host_path: shared.display().to_string(),
        ..Default::default()
    };
    config.mounts =
        vec![Mount { uid_mappings: rows.clone(), gid_mappings: rows, ..bind("/mapped") }, bind("/plain")];
    let id = client.create(&pod_id, &pod, config).await.expect("created");
    client.start(&id).await.expect("started");
    for (script, expect) in [
        ("tr -s ' ' < /proc/self/uid_map", "0 200000 65536"),
        ("id -u", "0"),
        ("stat -c %u / /etc/hosts /etc/resolv.conf /bin/busybox /mapped /plain", "0\n0\n0\n0\n0\n65534"),
        ("echo x > /made && chown 1000:1000 /made && stat -c %u:%g /made", "1000:1000"),
        ("echo x > /mapped/file && stat -c %u /mapped/file", "0"),
        ("touch /plain/x 2>/dev/null || echo no", "no"),
        ("rm /bin/vi && ls /bin/vi 2>/dev/null || echo gone", "gone"),
        ("echo x > /dev/shm/x && echo ok", "ok"),
        ("cat /proc/sys/kernel/shmmni", "777"),
        ("echo 1 > /proc/sys/kernel/panic 2>/dev/null || echo no", "no"),
        ("ip link show eth0 >/dev/null && echo ok", "ok"),
        ("hostname", "own"),
        ("mount | grep -c ' / type overlay'", "1"),
    ] {
        assert_eq!(client.output(&id, script).await, expect, "{script} ({pid:?})");
    }
    client.until_logged("own", "c", "stdout F by name").await;
    let upper = stage.folder.path().join("root/images/snapshots").join(&id).join("upper");
    let owner = |path: std::path::PathBuf| std::fs::symlink_metadata(path).map(|found| found.uid()).unwrap();
    assert_eq!((owner(upper.join("made")), owner(upper)), (BASE + 1000, BASE));
    assert_eq!(owner(shared.join("file")), 0, "what is mapped is stored with the ids of the inside");
    let inside = client.output(&id, "grep NSpid /proc/self/status").await;
    assert!(!inside.is_empty());
    stage.kill();
    stage.start();
    *client = stage.connect().await;
    assert_eq!(client.output(&id, "id -u").await, "0", "after a restart of the daemon");
    let mut unmapped = client.container("u", "id -u");
    let rows = vec![IdMapping { container_id: 0, host_id: BASE, length: 65_536 }];
    unmapped.mounts = vec![Mount {
        host_path: "/sys/kernel".into(),
        uid_mappings: rows.clone(),
        gid_mappings: rows,
        ..bind("/kernel")
    }];
    super::cri_node::with_pid_mode(&mut unmapped, pid);
    let refused = client.create(&pod_id, &pod, unmapped).await.expect_err("sysfs maps no ids");
    assert!(refused.message().contains("cannot map ids"), "{refused}");
    let mut stranger = client.container("s", "id -u");
    stranger.linux.get_or_insert_default().security_context.get_or_insert_default().run_as_user =
        Some(Int64Value { value: 70_000 });
    super::cri_node::with_pid_mode(&mut stranger, pid);
    let refused = client.create(&pod_id, &pod, stranger).await.expect_err("70000 is not mapped");
    assert!(refused.message().contains("user 70000"), "{refused}");
    client.end(&pod_id).await.expect("removed");
}

async fn refusals(client: &mut Client) {
    type Change = fn(&mut UserNamespace);
    let cases: [(Change, &str); 3] = [
        (|user| user.uids.push(IdMapping { container_id: 9, host_id: 9, length: 9 }), "2 mappings"),
        (|user| user.gids[0].container_id = 1, "from 0 on"),
        (|user| user.mode = NamespaceMode::Target.into(), "mode is TARGET"),
    ];
    for (change, part) in cases {
        let mut pod = client.pod("wrong");
        with_own_ids(&mut pod, NamespaceMode::Container);
        let linux = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
        let options = linux.namespace_options.get_or_insert_default();
        change(options.userns_options.get_or_insert_default());
        let refused = client.run(&pod).await.expect_err(part);
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{refused}");
    }
}
