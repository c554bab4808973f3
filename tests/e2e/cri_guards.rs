//! What a container, or a user of the host who is not root, cannot do to the node: reach its sockets, write to cgroups,
//! open devices, or drown it in output.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cri_api::v1::ListContainersRequest;

use super::cri_node::{Client, PATIENCE, stage, write_network};

/// What the daemon may grow by while it is flooded, most of it pages of its file; it writes what it has read before it reads on.
const GROWTH_MAX_KB: u64 = 80 << 10;
/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(1);

fn sockets(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_socket() {
            found.push(entry.path());
        } else if kind.is_dir() && entry.file_name() != "images" {
            sockets(&entry.path(), found);
        }
    }
}

/// Lets everybody walk to a file, so that only its own mode is in the way.
fn open_the_way(file: &Path, top: &Path) {
    for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
}

/// In a thread of its own, whose file system ids are nobody's: that takes its rights over files, too.
fn connect_as_nobody(socket: PathBuf) -> std::io::Result<()> {
    let thread = std::thread::spawn(move || {
        nix::unistd::setfsgid(65_534.into());
        nix::unistd::setfsuid(65_534.into());
        UnixStream::connect(socket).map(drop)
    });
    thread.join().expect("the thread ends")
}

#[test]
fn sockets_are_for_root_alone() {
    stage("sockets_are_for_root_alone", async |stage, _client| {
        let mut found = Vec::new();
        sockets(stage.folder.path(), &mut found);
        let named = |name: &str| found.iter().any(|path| path.ends_with(name));
        assert!(named("cri.sock") && named("state/keeper.sock"), "{found:?}");
        for socket in found {
            open_the_way(&socket, stage.folder.path());
            let refused = connect_as_nobody(socket.clone()).expect_err("only root may connect");
            let kind = refused.kind();
            assert_eq!(kind, std::io::ErrorKind::PermissionDenied, "{}: {refused}", socket.display());
        }
    });
}

#[test]
fn a_flood_of_output_is_contained() {
    stage("a_flood_of_output_is_contained", async |stage, mut client| {
        write_network(&mut client, "10.213.11.0/24").await;
        let pod = client.pod("flood");
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let calm_kb = stage.resident_kb();
        let mut floods = Vec::new();
        for (name, script) in [
            ("lines", "exec yes a line of a log"),
            ("endless", "exec cat /dev/zero"),
            ("errors", "while :; do echo x; done >&2"),
        ] {
            floods.push(begin(&mut client, &sandbox, &pod, name, script).await);
        }
        let calm =
            "for n in 1 2 3 4 5 6 7 8 9 10; do echo line $n; sleep 0.05; done; echo end; exec sleep 600";
        let calm = begin(&mut client, &sandbox, &pod, "calm", calm).await;
        let began = Instant::now();
        let mut most = 0;
        while began.elapsed() < FLOOD {
            let answered = Instant::now();
            client.runtime.list_containers(ListContainersRequest::default()).await.expect("a list");
            assert!(
                answered.elapsed() < Duration::from_secs(30),
                "the daemon answers: {:?}",
                answered.elapsed()
            );
            most = most.max(stage.resident_kb());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(most < calm_kb + GROWTH_MAX_KB, "{most} kB in the daemon, {calm_kb} before");
        assert_eq!(client.output(&calm, "echo ok").await, "ok");
        for container in floods {
            let begun = Instant::now();
            client.stop(&container, 0).await.expect("stopped");
            assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        }
        // A quiet neighbour's lines are all there, each whole.
        let expect: Vec<String> = (1..=10).map(|n| format!("line {n}")).chain(["end".into()]).collect();
        client.until_logged("flood", "calm", "stdout F end\n").await;
        let log = client.log("flood", "calm");
        let said: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        assert_eq!(said, expect);
        client.end(&sandbox).await.expect("removed");
    });
}

async fn begin(
    client: &mut Client,
    sandbox: &str,
    pod: &cri_api::v1::PodSandboxConfig,
    name: &str,
    script: &str,
) -> String {
    let config = client.container(name, script);
    let id = client.create(sandbox, pod, config).await.expect("created");
    client.start(&id).await.expect("started");
    id
}

#[test]
fn cgroups_and_devices_are_out_of_reach() {
    stage("cgroups_and_devices_are_out_of_reach", async |_, mut client| {
        write_network(&mut client, "10.213.12.0/24").await;
        let pod = client.pod("reach");
        let sandbox = client.run(&pod).await.expect("a sandbox");
        let mut config = client.container("c", "exec sleep 600");
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        // The most that a container can have without being privileged.
        security.capabilities.get_or_insert_default().add_capabilities = vec!["ALL".into()];
        let id = client.create(&sandbox, &pod, config).await.expect("created");
        client.start(&id).await.expect("started");
        let cgroups = "for d in $(find /sys/fs/cgroup -type d); do \
             mkdir $d/x 2>/dev/null && echo made in $d; \
             for f in cgroup.procs tasks release_agent notify_on_release memory.max devices.allow; do \
             test -e $d/$f && (echo 0 > $d/$f) 2>/dev/null && echo wrote $d/$f; done; done; echo end";
        assert_eq!(client.output(&id, cgroups).await, "end");
        let devices = crate::oci_security::openable();
        assert!(!devices.is_empty());
        let script = format!("mkdir -p /tmp; {}", crate::oci_security::try_devices(&devices));
        assert_eq!(client.output(&id, &script).await, "opened null");
        client.end(&sandbox).await.expect("removed");
    });
}
