//! `features`: what this runtime supports, as the specification's features document has it.
//!
//! Reference: OCI runtime-spec `features.md`, `features-linux.md`.

use clap::Args;

use crate::container::ContainerError;
use crate::plan;

#[derive(Debug, Args)]
pub(super) struct Features {}

impl Features {
    pub(super) fn run(self) -> Result<u8, ContainerError> {
        let last = sys::capability::LAST_NAMED;
        let capabilities: Vec<_> = sys::capability::names(sys::capability::all_up_to(last)).collect();
        let features = serde_json::json!({
            "ociVersionMin": "1.0.0",
            "ociVersionMax": "1.2.0",
            "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
            "mountOptions": plan::known_mount_options(),
            "linux": {
                "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
                "capabilities": capabilities,
                "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
                "seccomp": { "enabled": true },
                "apparmor": { "enabled": true },
                "selinux": { "enabled": false },
                "intelRdt": { "enabled": false },
                "mountExtensions": { "idmap": { "enabled": false } },
            },
            "annotations": { "dev.keelson.version": env!("CARGO_PKG_VERSION") },
        });
        println!("{features:#}");
        Ok(0)
    }
}
