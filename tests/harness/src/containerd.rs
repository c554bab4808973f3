//! Debian's containerd, to be the runtime of a test's node or to be measured beside ours: everything it has lies below one folder.
//!
//! ```text
//! folder/ containerd.toml  cri.sock  root/  state/  opt/    its own
//!         bin/  net.d/  registries/                         the caller's: plugins, network, hosts.toml
//! ```

use std::path::Path;
use std::process::Command;

use crate::registry::Debian;

/// Where Debian's containernetworking-plugins are.
pub const PLUGINS: &str = "/usr/lib/cni";
/// containerd asks for this one in every sandbox.
const LOOPBACK: &str = "loopback";
/// What its pauses sleep, so that they are told from other sleeps.
pub const PAUSE: &str = "1000000000";

/// Whether there is something to run.
#[must_use]
pub fn is_installed() -> bool {
    Path::new(PLUGINS).join(LOOPBACK).exists()
        && ["containerd", "containerd-shim-runc-v2", "runc"].iter().all(|program| {
            ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists())
        })
}

/// Pushes an image whose program does nothing for ever, which a sandbox needs there.
#[must_use]
pub fn push_pause(registry: &Debian) -> String {
    let builder = crate::image::busybox().expect("busybox is there, the caller has looked");
    registry.push("pause", "1", &builder.command(&["/bin/sleep", PAUSE]).build())
}

/// Writes the configuration and links Debian's plugins beside the caller's: the folder `bin` is there.
pub fn prepare(folder: &Path, pause: &str, plugins: &[&str]) {
    for name in plugins.iter().chain(&[LOOPBACK]) {
        let link = folder.join("bin").join(name);
        std::os::unix::fs::symlink(Path::new(PLUGINS).join(name), link).expect("a link");
    }
    let path = |name: &str| folder.join(name).display().to_string();
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
    std::fs::write(folder.join("containerd.toml"), configuration).expect("a file");
}

/// How it is started.
#[must_use]
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new("containerd");
    command.arg("--config").arg(folder.join("containerd.toml"));
    command
}
