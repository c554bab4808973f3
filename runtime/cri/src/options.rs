//! How a CRI server is set up: paths, addresses, and what the command line calls them.

use std::path::PathBuf;

use clap::Parser;

use crate::image_service::Pattern;

/// `keelson cri`: every path a user may want elsewhere. The defaults are those of a node.
#[derive(Clone, Debug, Parser)]
#[command(about = "Serve the Kubernetes Container Runtime Interface on a unix socket")]
pub struct Options {
    /// Socket to listen on: a path, with or without unix://
    #[arg(long, default_value = "unix:///run/keelson/cri.sock", value_name = "ADDRESS")]
    pub listen: String,
    /// What lasts: images, containers, records
    #[arg(long, default_value = "/var/lib/keelson", value_name = "DIR")]
    pub root: PathBuf,
    /// What lasts until the next boot: sockets, namespaces, pod files
    #[arg(long, default_value = "/run/keelson", value_name = "DIR")]
    pub state: PathBuf,
    /// Where the first *.conflist or *.conf tells the pod network
    #[arg(long, default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub cni_conf_dir: PathBuf,
    /// CNI plugins
    #[arg(long, default_value = "/opt/cni/bin", value_name = "DIR")]
    pub cni_bin_dir: PathBuf,
    /// Registry hosts, one folder each with its hosts.toml
    #[arg(long = "registries", default_value = "/etc/keelson/registries", value_name = "DIR")]
    pub registries_dir: PathBuf,
    /// Images that are never collected: a name, `start*`, or `*part*`; may be repeated
    #[arg(long = "pinned-image", value_delimiter = ',', value_name = "PATTERN")]
    pub pinned_images: Vec<Pattern>,
    /// Where exec, attach and port-forward sessions connect to; loopback only
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub stream_address: String,
    /// Parent of pods' cgroups whose request names none
    #[arg(long, default_value = "/kubepods", value_name = "PATH")]
    pub cgroup_root: String,
    /// What a container whose request has no seccomp profile gets: as other runtimes, and as the interface says, none.
    /// The kubelet always names one
    #[arg(long, value_enum, default_value = "unconfined", value_name = "PROFILE")]
    pub unset_seccomp_profile: UnsetSeccomp,
    /// Executable that becomes the keeper (default: this one)
    #[arg(long, value_name = "FILE", hide = true)]
    pub keeper_exe: Option<PathBuf>,
    /// The keeper's cgroup, outside of every service's; `none` leaves it in ours
    #[arg(long, default_value = "/keelson/keeper", value_name = "PATH")]
    pub keeper_cgroup: String,
}

/// The profile of a request that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UnsetSeccomp {
    Unconfined,
    #[value(name = "runtime/default")]
    RuntimeDefault,
}

impl Options {
    /// The same with absolute paths: the keeper and the plugins do not run where we were started.
    pub fn absolute(mut self) -> std::io::Result<Options> {
        let paths = [
            &mut self.root,
            &mut self.state,
            &mut self.cni_conf_dir,
            &mut self.cni_bin_dir,
            &mut self.registries_dir,
        ];
        for path in paths {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.listen.strip_prefix("unix://").unwrap_or(&self.listen))
    }

    /// The executable that becomes the keeper and the init of a pod.
    pub fn executable(&self) -> PathBuf {
        let own = || std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        self.keeper_exe.clone().unwrap_or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let options = Options::parse_from(["keelson cri", "--listen", "unix:///tmp/a.sock", "--root", "/r"]);
        assert_eq!(options.socket(), PathBuf::from("/tmp/a.sock"));
        assert_eq!(options.root, PathBuf::from("/r"));
        assert_eq!(options.state, PathBuf::from("/run/keelson"));
        assert_eq!(options.unset_seccomp_profile, UnsetSeccomp::Unconfined);
        let strict = ["keelson cri", "--unset-seccomp-profile", "runtime/default"];
        assert_eq!(Options::parse_from(strict).unset_seccomp_profile, UnsetSeccomp::RuntimeDefault);
        let pins = Options::parse_from(["keelson cri", "--pinned-image", "a/*,b", "--pinned-image", "*c*"]);
        assert_eq!(pins.pinned_images.len(), 3);
        assert!(Options::try_parse_from(["keelson cri", "--pinned-image", "*"]).is_err());
        assert!(Options::try_parse_from(["keelson cri", "--rot", "/r"]).is_err());
        let relative =
            Options::parse_from(["keelson cri", "--state", "s", "--cni-bin-dir", "b"]).absolute().unwrap();
        assert!(relative.state.is_absolute() && relative.state.ends_with("s"), "{relative:?}");
        assert!(relative.cni_bin_dir.is_absolute() && relative.cni_bin_dir.ends_with("b"), "{relative:?}");
    }
}
