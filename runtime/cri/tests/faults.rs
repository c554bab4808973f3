//! A fault at every step: making a sandbox, making a container, starting one. Nothing may be left.
//!
//! This executable is the test and, called as `keeper`, the keeper of its node.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser as _;
use cri::container::{self, create, start};
use cri::fault::{Fault, Outcome};
use cri::node::Node;
use cri::{Options, sandbox};
use cri_api::v1;
use keelson_cri as cri;

/// More steps than any plan has: the loop ends when nothing was hit.
const STEPS_MAX: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|argument| argument == "keeper") {
        return keeper::main(arguments[1..].to_vec());
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if !harness::root_or_skip("faults") {
        return ExitCode::SUCCESS;
    }
    let Some(image) = harness::image::busybox() else {
        harness::skip("faults", "no busybox-static");
        return ExitCode::SUCCESS;
    };
    let guard = harness::host::exclusive("faults");
    let folder = tempfile::tempdir().expect("a folder");
    image.build().write_layout(&folder.path().join("layout"), "busybox:faults");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let keeper = runtime.block_on(story(folder.path(), guard.tag()));
    drop(runtime);
    if let Some(pid) = keeper {
        let _gone =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    Command::new("umount").arg(folder.path().join("state/ns")).status().expect("umount runs");
    drop(folder);
    guard.finish();
    println!("test faults ... ok");
    ExitCode::SUCCESS
}

async fn story(folder: &Path, tag: &str) -> Option<i32> {
    let node = open(folder, tag).await;
    let images = node.images.import(&folder.join("layout")).await.expect("imported");
    let image = images.first().expect("an image").to_string();
    let made = every_sandbox_step(&node, folder).await;
    let pod = made.expect("without a fault it is made");
    let container = every_container_step(&node, folder, &pod, &image).await;
    every_start_step(&node, folder, &container).await;
    let sandbox = node.sandbox(pod.as_str()).expect("the sandbox");
    sandbox.ask(sandbox::Command::Remove).await.expect("removed");
    empty(folder);
    let keeper = node.processes.keeper().await;
    node.cancel.cancel();
    node.tasks.close();
    node.tasks.wait().await;
    keeper
}

async fn open(folder: &Path, tag: &str) -> Arc<Node> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (bin, conf) = (folder.join("bin"), folder.join("net.d"));
    for made in [&bin, &conf] {
        std::fs::create_dir_all(made).expect("a folder");
    }
    // A plugin whose attachments are files.
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\nD={}\nmkdir -p $D\ncase $CNI_COMMAND in\n\
         ADD) touch $D/$CNI_CONTAINERID; echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.9.8.7/24\"}}]}}';;\n\
         DEL) rm -f $D/$CNI_CONTAINERID;;\nesac\n",
        path("attached")
    );
    std::fs::write(bin.join("files"), script).expect("a plugin");
    std::fs::set_permissions(bin.join("files"), std::fs::Permissions::from_mode(0o755)).expect("executable");
    let list = r#"{"cniVersion":"1.0.0","name":"files","plugins":[{"type":"files"}]}"#;
    std::fs::write(conf.join("10-files.conflist"), list).expect("a configuration");
    let own = std::env::current_exe().expect("our own path").display().to_string();
    let parent = format!("/keelson-{tag}");
    let options = Options::parse_from([
        "cri",
        "--root",
        &path("root"),
        "--state",
        &path("state"),
        "--cni-conf-dir",
        &path("net.d"),
        "--cni-bin-dir",
        &path("bin"),
        "--registries",
        &path("registries"),
        "--cgroup-root",
        &parent,
        "--keeper-cgroup",
        "none",
        "--keeper-exe",
        &own,
    ]);
    Node::open(options).await.expect("a node")
}

/// Fails at step `k`, and notes whether there was one.
fn fail_at(k: usize, hit: &AtomicUsize) -> impl Fn(usize) -> Outcome<()> + Sync + '_ {
    move |step| {
        if step != k {
            return Ok(());
        }
        hit.fetch_add(1, Ordering::Relaxed);
        Err(Fault::failed("injected", format!("step {k}")))
    }
}

async fn every_sandbox_step(node: &Arc<Node>, folder: &Path) -> Option<cri::id::SandboxId> {
    for k in 0..STEPS_MAX {
        let hit = AtomicUsize::new(0);
        let config = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "p".into(),
                uid: "u".into(),
                namespace: "n".into(),
                attempt: 0,
            }),
            log_directory: folder.join("logs").display().to_string(),
            ..Default::default()
        };
        let made = sandbox::run::run(node, config, String::new(), &fail_at(k, &hit)).await;
        if hit.into_inner() == 0 {
            assert!(k > 5, "the plan has steps");
            return Some(made.expect("made"));
        }
        assert!(made.is_err(), "step {k} failed");
        assert!(node.sandboxes.all().is_empty());
        empty(folder);
    }
    None
}

async fn every_container_step(
    node: &Arc<Node>,
    folder: &Path,
    pod: &cri::id::SandboxId,
    image: &str,
) -> cri::id::ContainerId {
    let sandbox = node.sandbox(pod.as_str()).expect("the sandbox");
    let options = v1::NamespaceOption { pid: v1::NamespaceMode::Container.into(), ..Default::default() };
    let security =
        v1::LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: ["sleep", "600"].map(str::to_owned).to_vec(),
        log_path: "c.log".into(),
        linux: Some(v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    };
    for k in 0..STEPS_MAX {
        let hit = AtomicUsize::new(0);
        let made = create::create(node, &sandbox, config.clone(), &fail_at(k, &hit)).await;
        if hit.into_inner() == 0 {
            assert!(k > 3, "the plan has steps");
            return made.expect("made");
        }
        assert!(made.is_err(), "step {k} failed");
        assert!(node.containers.all().is_empty());
        assert!(node.images.snapshots().is_empty(), "step {k} leaves no root");
        assert_eq!(entries(&folder.join("root/containers")), 0, "step {k} leaves no record");
    }
    panic!("the plan never ends");
}

async fn every_start_step(node: &Arc<Node>, folder: &Path, id: &cri::id::ContainerId) {
    let made = node.container(id.as_str()).expect("the container");
    for k in 0..STEPS_MAX {
        let hit = AtomicUsize::new(0);
        let started = start::start(node, &made.record(), &fail_at(k, &hit)).await;
        if hit.into_inner() == 0 {
            assert!(k > 2, "the plan has steps");
            let started = started.expect("started");
            assert!(started.running.pid > 0);
            end(node, &made, started).await;
            return;
        }
        assert!(started.is_err(), "step {k} failed");
        assert_eq!(entries(&folder.join("state/io")), 0, "step {k} leaves no streams");
        let cgroup = sys::cgroup::Cgroup::open(&node.layout, &made.record().cgroup);
        assert!(cgroup.is_err(), "step {k} leaves no cgroup");
        assert!(node.processes.list().await.is_empty(), "step {k} leaves no process");
    }
}

/// The start was ours, not the owner's: so is the end.
async fn end(node: &Arc<Node>, made: &container::Container, started: start::Started) {
    let id = start::process_id(&made.record()).expect("a name");
    node.processes.signal(&id, 9).await.expect("killed");
    node.processes.exited(&id).await;
    node.processes.forget(&id).await;
    started.io.close().await;
    let cgroup = sys::cgroup::Cgroup::open(&node.layout, &made.record().cgroup).expect("its cgroup");
    cgroup.delete().expect("removed");
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

/// Of sandboxes, nothing is left below the node's folders.
fn empty(folder: &Path) {
    for name in ["root/sandboxes", "state/sandboxes", "state/ns", "attached"] {
        assert_eq!(entries(&folder.join(name)), 0, "{name} is empty");
    }
}
