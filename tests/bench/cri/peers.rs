//! The two servers: Keelson's and Debian's containerd, each below a folder of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::containerd;

use super::Options;
use super::client::Client;
use super::payload::Images;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Keelson,
    Containerd,
}

/// A running server.
pub struct Server {
    pub kind: Kind,
    pub client: Client,
    daemon: Child,
}

/// Both, asked in turns.
pub struct Pair {
    pub ours: Server,
    pub peer: Server,
}

/// Whether there is something to compare with.
pub fn are_installed() -> bool {
    let registry =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(|folder| Path::new(folder).join("docker-registry"));
    Path::new(containerd::PLUGINS).join("bridge").exists()
        && containerd::is_installed()
        && registry.iter().any(|program| program.exists())
        && harness::image::busybox().is_some()
}

/// The cgroup below which a server's pods are.
pub fn cgroup_name(server: &str, tag: &str) -> String {
    format!("bench-{server}-{tag}")
}

// === impl Pair ===

impl Pair {
    /// Ours first in every second round.
    pub fn in_turn(&mut self, round: usize) -> [&mut Server; 2] {
        if round.is_multiple_of(2) {
            [&mut self.ours, &mut self.peer]
        } else {
            [&mut self.peer, &mut self.ours]
        }
    }
}

// === impl Server ===

impl Server {
    pub async fn start(
        kind: Kind,
        folder: &Path,
        registry: &str,
        images: &Images,
        options: &Options,
        tag: &str,
    ) -> Server {
        let (name, subnet) = match kind {
            Kind::Keelson => ("keelson", "10.213.0.0/22"),
            Kind::Containerd => ("containerd", "10.213.4.0/22"),
        };
        let place = Place { folder: folder.join(name), cgroup: cgroup_name(name, tag) };
        place.write_network(kind, subnet, &options.executable);
        place.write_registry(registry);
        let mut command = match kind {
            Kind::Keelson => place.keelson(&options.executable),
            Kind::Containerd => {
                containerd::prepare(&place.folder, &images.pause, &["bridge", "host-local"]);
                containerd::command(&place.folder)
            }
        };
        let log = File::create(place.folder.join("daemon.log")).expect("a log");
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let daemon = daemon.expect("the server runs");
        let mut client = connect(&place, &daemon).await;
        for image in [&images.pause, &images.busybox, &images.lines] {
            client.pull(image).await;
        }
        client.image = images.busybox.clone();
        Server { kind, client, daemon }
    }

    pub fn name(&self) -> &'static str {
        if self.kind == Kind::Keelson { "keelson" } else { "containerd" }
    }

    pub fn pid(&self) -> i32 {
        self.daemon.id().try_into().expect("a PID")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.daemon.kill().and_then(|()| self.daemon.wait());
    }
}

async fn connect(place: &Place, daemon: &Child) -> Client {
    let began = Instant::now();
    let socket = place.path("cri.sock");
    loop {
        if let Some(client) = Client::connect(&socket, place.path("logs"), format!("/{}", place.cgroup)).await
        {
            return client;
        }
        if began.elapsed() > PATIENCE {
            let log = std::fs::read_to_string(place.folder.join("daemon.log")).unwrap_or_default();
            panic!("process {} does not serve {socket}: {log}", daemon.id());
        }
        // Before its first start there is no socket to wait at.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Where a server keeps everything.
struct Place {
    folder: PathBuf,
    cgroup: String,
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn write_network(&self, kind: Kind, subnet: &str, executable: &Path) {
        for name in ["bin", "net.d"] {
            std::fs::create_dir_all(self.folder.join(name)).expect("a folder");
        }
        let ranges = serde_json::json!([[{"subnet": subnet}]]);
        let plugin = match kind {
            Kind::Keelson => {
                let link = self.folder.join("bin/keelson-cni");
                std::os::unix::fs::symlink(executable, link).expect("a link");
                serde_json::json!({"type": "keelson-cni", "mode": "plain",
                    "ipam": {"ranges": ranges, "dataDir": self.path("ipam")}})
            }
            Kind::Containerd => {
                serde_json::json!({"type": "bridge", "bridge": "bench0", "isGateway": true,
                    "ipam": {"type": "host-local", "ranges": ranges, "dataDir": self.path("ipam")}})
            }
        };
        // Debian's containerd knows no newer version.
        let list = serde_json::json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [plugin]});
        std::fs::write(self.folder.join("net.d/10-bench.conflist"), list.to_string()).expect("a file");
    }

    fn write_registry(&self, address: &str) {
        for name in [address.replace(':', "_"), address.to_owned()] {
            let hosts = self.folder.join("registries").join(name);
            std::fs::create_dir_all(&hosts).expect("a folder");
            std::fs::write(hosts.join("hosts.toml"), format!("server = \"http://{address}\"\n"))
                .expect("a file");
        }
    }

    fn keelson(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command
            .args(["cri", "--listen", &format!("unix://{}", self.path("cri.sock"))])
            .args(["--root", &self.path("root"), "--state", &self.path("state")])
            .args(["--cni-conf-dir", &self.path("net.d"), "--cni-bin-dir", &self.path("bin")])
            .args(["--registries", &self.path("registries"), "--keeper-cgroup", "none"])
            .args(["--cgroup-root", &format!("/{}", self.cgroup)]);
        command
    }
}
