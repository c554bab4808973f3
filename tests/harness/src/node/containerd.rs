//! Debian's containerd as the runtime of a test's node: its configuration below the node's folder.

use std::path::Path;
use std::process::Command;

use super::Node;

/// containerd asks for this plugin in every sandbox; Debian has it in containernetworking-plugins.
const LOOPBACK: &str = "/usr/lib/cni/loopback";

/// Whether there is something to run.
pub fn is_installed() -> bool {
    Path::new(LOOPBACK).exists()
        && ["containerd", "containerd-shim-runc-v2", "runc"].iter().all(|program| {
            ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
        })
}

/// The configuration, and an image whose program does nothing for ever: a sandbox needs one there.
pub fn write_files(node: &Node) {
    std::os::unix::fs::symlink(LOOPBACK, node.path("bin/loopback")).expect("a link");
    let builder = crate::image::busybox().expect("busybox is there, the stage has looked");
    let pause = builder.command(&["/bin/sleep", "1000000000"]).build();
    let pause = node.registry.push("pause", "1", &pause);
    let path = |name: &str| node.path(name).display().to_string();
    let configuration = format!(
        "version = 2\nroot = {root:?}\nstate = {state:?}\n\
         disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.aufs\"]\n\
         [grpc]\naddress = {socket:?}\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = {opt:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {pause:?}\nrestrict_oom_score_adj = true\n\
         stream_server_address = \"127.0.0.1\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {bin:?}\nconf_dir = {conf:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {registries:?}\n",
        root = path("root"),
        state = path("state"),
        socket = path("cri.sock"),
        opt = path("opt"),
        bin = path("bin"),
        conf = path("net.d"),
        registries = path("registries"),
    );
    std::fs::write(node.path("containerd.toml"), configuration).expect("a file");
}

/// How it is started.
pub fn command(node: &Node) -> Command {
    let mut command = Command::new("containerd");
    command.arg("--config").arg(node.path("containerd.toml"));
    command
}
