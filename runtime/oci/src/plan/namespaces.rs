//! Sets of namespaces, and how the specification's list becomes clone flags, joins and steps.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use serde::{Deserialize, Serialize};

use super::PlanError;

/// A set of namespaces, with the kernel's `CLONE_NEW*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces(pub u32);

impl Namespaces {
    pub const TIME: Namespaces = Namespaces(0x80);
    pub const MOUNT: Namespaces = Namespaces(0x0002_0000);
    pub const CGROUP: Namespaces = Namespaces(0x0200_0000);
    pub const UTS: Namespaces = Namespaces(0x0400_0000);
    pub const IPC: Namespaces = Namespaces(0x0800_0000);
    pub const USER: Namespaces = Namespaces(0x1000_0000);
    pub const PID: Namespaces = Namespaces(0x2000_0000);
    pub const NETWORK: Namespaces = Namespaces(0x4000_0000);

    pub const fn with(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }

    pub const fn without(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & !other.0)
    }

    pub const fn has(self, other: Namespaces) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The name under /proc/pid/ns, for one namespace.
    pub fn name(self) -> &'static str {
        match self {
            Namespaces::TIME => "time",
            Namespaces::MOUNT => "mnt",
            Namespaces::CGROUP => "cgroup",
            Namespaces::UTS => "uts",
            Namespaces::IPC => "ipc",
            Namespaces::USER => "user",
            Namespaces::PID => "pid",
            Namespaces::NETWORK => "net",
            _ => "several",
        }
    }
}

impl From<LinuxNamespaceType> for Namespaces {
    fn from(kind: LinuxNamespaceType) -> Namespaces {
        match kind {
            LinuxNamespaceType::Mount => Namespaces::MOUNT,
            LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
            LinuxNamespaceType::Uts => Namespaces::UTS,
            LinuxNamespaceType::Ipc => Namespaces::IPC,
            LinuxNamespaceType::User => Namespaces::USER,
            LinuxNamespaceType::Pid => Namespaces::PID,
            LinuxNamespaceType::Network => Namespaces::NETWORK,
            LinuxNamespaceType::Time => Namespaces::TIME,
        }
    }
}

/// The specification's list, sorted by what has to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Made anew.
    pub(crate) create: Namespaces,
    /// Joined by path, the user namespace first, because it owns the right to join the others.
    pub(crate) join: Vec<(Namespaces, PathBuf)>,
}

impl Wanted {
    pub(crate) fn of(list: &[LinuxNamespace]) -> Result<Wanted, PlanError> {
        let mut wanted = Wanted::default();
        let mut seen = Namespaces::default();
        for entry in list {
            let kind = Namespaces::from(entry.typ());
            if seen.has(kind) {
                return Err(PlanError::invalid(
                    "linux.namespaces",
                    format!("`{}` is listed twice", entry.typ()),
                ));
            }
            seen = seen.with(kind);
            match entry.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                None => wanted.create = wanted.create.with(kind),
                Some(path) if !path.is_absolute() => {
                    return Err(PlanError::invalid(
                        "linux.namespaces",
                        format!("path `{}` is not absolute", path.display()),
                    ));
                }
                Some(path) => wanted.join.push((kind, path.clone())),
            }
        }
        wanted.join.sort_by_key(|(kind, _)| *kind != Namespaces::USER);
        Ok(wanted)
    }

    pub(crate) fn joins(&self, kind: Namespaces) -> bool {
        self.join.iter().any(|(joined, _)| *joined == kind)
    }

    /// Created or joined: not the host's.
    pub(crate) fn private(&self, kind: Namespaces) -> bool {
        self.create.has(kind) || self.joins(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: LinuxNamespaceType, path: Option<&str>) -> LinuxNamespace {
        let mut entry = LinuxNamespace::default();
        entry.set_typ(kind);
        entry.set_path(path.map(PathBuf::from));
        entry
    }

    #[test]
    fn lists_are_sorted_by_what_to_do() {
        use LinuxNamespaceType::{Network, Pid, User};
        let list = [entry(Network, Some("/n")), entry(Pid, None), entry(User, Some("/u"))];
        let wanted = Wanted::of(&list).unwrap();
        assert_eq!(wanted.create, Namespaces::PID);
        assert_eq!(wanted.join[0].0, Namespaces::USER);
        assert!(wanted.private(Namespaces::NETWORK) && !wanted.private(Namespaces::UTS));
    }

    #[test]
    fn doubles_and_relative_paths_are_refused() {
        use LinuxNamespaceType::Pid;
        assert!(Wanted::of(&[entry(Pid, None), entry(Pid, None)]).is_err());
        assert!(Wanted::of(&[entry(Pid, Some("ns/pid"))]).is_err());
    }
}
