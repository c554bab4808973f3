//! What a room may leave on a host: the sum over all rooms is what uninstall removes and what the
//! end-to-end tests expect to find gone.
//!
//! Pure data. Paths are absolute; names may end in `*`, which stands for any rest.

use std::path::PathBuf;

/// Kernel objects and files that a room creates outside its own process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Files and directories, removed with what is below them.
    pub files: Vec<PathBuf>,
    /// Network links by name.
    pub links: Vec<String>,
    /// Mount points in the host's mount namespace.
    pub mounts: Vec<PathBuf>,
    /// cgroups by path below the hierarchy's root, in every hierarchy.
    pub cgroups: Vec<String>,
    /// Pinned BPF objects.
    pub pins: Vec<PathBuf>,
    /// Listening unix sockets.
    pub sockets: Vec<PathBuf>,
}

impl Footprint {
    /// Adds what another room leaves.
    #[must_use]
    pub fn and(mut self, other: Footprint) -> Footprint {
        self.files.extend(other.files);
        self.links.extend(other.links);
        self.mounts.extend(other.mounts);
        self.cgroups.extend(other.cgroups);
        self.pins.extend(other.pins);
        self.sockets.extend(other.sockets);
        self
    }
}
