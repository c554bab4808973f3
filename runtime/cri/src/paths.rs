//! Where everything of one node lies.
//!
//! ```text
//! <root>/images                 the image store
//! <root>/containers/<id>/       record.json, spec.json
//! <root>/sandboxes/<id>/        record.json
//! <state>/ns/<sandbox>/         pinned namespaces: net, ipc, uts
//! <state>/sandboxes/<id>/       resolv.conf, hosts, hostname, shm (a tmpfs)
//! <state>/io/<container>/       stdio of containers
//! <state>/keeper.sock           the keeper
//! ```

use std::path::PathBuf;

use crate::id::SandboxId;

#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    state: PathBuf,
}

impl Paths {
    pub fn new(root: PathBuf, state: PathBuf) -> Paths {
        Paths { root, state }
    }

    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    pub fn io(&self) -> PathBuf {
        self.state.join("io")
    }

    pub fn namespaces(&self) -> PathBuf {
        self.state.join("ns")
    }

    /// The pins of one sandbox.
    pub fn pins(&self, id: &SandboxId) -> PathBuf {
        self.namespaces().join(id.as_str())
    }

    pub fn pod_files(&self) -> PathBuf {
        self.state.join("sandboxes")
    }

    /// The files of one sandbox.
    pub fn files(&self, id: &SandboxId) -> PathBuf {
        self.pod_files().join(id.as_str())
    }
}
