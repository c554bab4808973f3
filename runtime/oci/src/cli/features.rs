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
        // All of them since Linux 5.19, older than what this runtime asks for.
        let seccomp_flags = [
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ];
        let features = serde_json::json!({
            "ociVersionMin": "1.0.0",
            "ociVersionMax": "1.2.0",
            "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
            "mountOptions": plan::known_mount_options(),
            "linux": {
                "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
                "capabilities": capabilities,
                "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true },
                "seccomp": {
                    "enabled": true,
                    "actions": [
                        "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                        "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                    ],
                    "operators": [
                        "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                        "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
                    ],
                    "archs": [
                        "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64",
                    ],
                    "knownFlags": seccomp_flags,
                    "supportedFlags": seccomp_flags,
                },
                "apparmor": { "enabled": true },
                "selinux": { "enabled": false },
                "intelRdt": { "enabled": false },
                "mountExtensions": { "idmap": { "enabled": true } },
            },
            "potentiallyUnsafeConfigAnnotations": [],
            "annotations": { "dev.keelson.version": env!("CARGO_PKG_VERSION") },
        });
        println!("{features:#}");
        Ok(0)
    }
}
