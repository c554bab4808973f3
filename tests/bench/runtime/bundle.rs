//! The bundle that every runtime gets: busybox `true` in a root of its own, as `spec` writes it, without limits.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

pub struct Bundle {
    pub path: PathBuf,
    pub id: String,
}

impl Bundle {
    pub fn new(folder: &Path, keelson: &str) -> Bundle {
        let path = folder.join("bundle");
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(path.join("rootfs").join(name)).expect("a folder");
        }
        std::fs::copy("/bin/busybox", path.join("rootfs/bin/busybox")).expect("busybox");
        std::os::unix::fs::symlink("busybox", path.join("rootfs/bin/true")).expect("a link");
        let status = Command::new(keelson).args(["oci", "spec", "--bundle"]).arg(&path).status();
        assert!(status.expect("it runs").success());
        let config = path.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&config).expect("a file")).expect("JSON");
        let id = format!("bench{}", std::process::id());
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["/bin/true"]);
        spec["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        // Debian's crun sets limits here that need CAP_SYS_RESOURCE, for its device program's sake.
        spec["linux"].as_object_mut().expect("an object").remove("resources");
        spec["process"].as_object_mut().expect("an object").remove("rlimits");
        std::fs::write(&config, spec.to_string()).expect("a file");
        Bundle { path, id }
    }
}
