//! Reservations on disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cni_api::Attachment;

use super::RangeSet;

/// The reservations of one network, locked as long as this lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    #[error("{what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("no address is free in {set}: {used} are in use")]
    Exhausted { set: String, used: usize },
    #[error("{ip} is in use by container {} interface {}", owner.container, owner.ifname)]
    InUse { ip: IpAddr, owner: Attachment },
    #[error("{ip} is in none of the configured ranges")]
    NotOurs { ip: IpAddr },
    #[error("container {} interface {} already has {ips:?}", owner.container, owner.ifname)]
    AlreadyReserved { owner: Attachment, ips: Vec<IpAddr> },
}

impl Store {
    /// Opens the folder, made if missing, and waits for its lock. The kernel drops the lock of a plugin
    /// that dies, so nobody waits for ever.
    pub fn lock(folder: &Path) -> Result<Store, IpamError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| IpamError::Io { what, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed("creating", folder))?;
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("opening", &path))?;
        lock.lock().map_err(failed("locking", &path))?;
        Ok(Store { folder: folder.to_owned(), _lock: lock })
    }

    /// Takes one address out of each set for `owner`, or exactly the `requested` ones. All or nothing.
    pub fn reserve(
        &self,
        owner: &Attachment,
        sets: &[RangeSet],
        requested: &[IpAddr],
    ) -> Result<Vec<IpAddr>, IpamError> {
        let used = self.reservations()?;
        let ips = of(&used, owner);
        if !ips.is_empty() {
            return Err(IpamError::AlreadyReserved { owner: owner.clone(), ips });
        }
        if let Some(ip) = requested.iter().find(|ip| !sets.iter().any(|set| set.contains(**ip))) {
            return Err(IpamError::NotOurs { ip: *ip });
        }
        let mut taken = Vec::new();
        for (k, set) in sets.iter().enumerate() {
            let outcome = match requested.iter().find(|ip| set.contains(**ip)) {
                Some(ip) => self.take_requested(owner, *ip, &used).map(|()| *ip),
                None => self.take_next(owner, k, set, &used),
            };
            match outcome {
                Ok(ip) => taken.push(ip),
                Err(error) => {
                    // The first error is the one to tell.
                    let _ = taken.iter().try_for_each(|ip| self.free(*ip));
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// Gives back everything that `owner` has; nothing is success.
    pub fn release(&self, owner: &Attachment) -> Result<(), IpamError> {
        self.owned(owner)?.into_iter().try_for_each(|ip| self.free(ip))
    }

    pub fn owned(&self, owner: &Attachment) -> Result<Vec<IpAddr>, IpamError> {
        Ok(of(&self.reservations()?, owner))
    }

    /// Every address in use, and by whom.
    pub fn reservations(&self) -> Result<HashMap<IpAddr, Attachment>, IpamError> {
        let failed = |source| IpamError::Io { what: "reading", path: self.folder.clone(), source };
        let mut found = HashMap::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Everything else in the folder (lock, last.*) is not named like an address.
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Ok(target) = fs::read_link(entry.path()) {
                found.insert(ip, owner_of(&target));
            }
        }
        Ok(found)
    }

    /// Whether each set still has an address.
    pub fn has_room(&self, sets: &[RangeSet]) -> Result<(), IpamError> {
        let used = self.reservations()?;
        let full = sets.iter().find(|set| !set.after(None).any(|ip| !used.contains_key(&ip)));
        full.map_or(Ok(()), |set| Err(exhausted(set, &used)))
    }

    fn take_next(
        &self,
        owner: &Attachment,
        k: usize,
        set: &RangeSet,
        used: &HashMap<IpAddr, Attachment>,
    ) -> Result<IpAddr, IpamError> {
        let note = self.folder.join(format!("last.{k}"));
        // Torn or missing: begin at the beginning.
        let last = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
        // At most one more than are used are looked at.
        let ip = set.after(last).find(|ip| !used.contains_key(ip)).ok_or_else(|| exhausted(set, used))?;
        self.take(owner, ip)?;
        fs::write(&note, ip.to_string()).map_err(|source| IpamError::Io {
            what: "writing",
            path: note,
            source,
        })?;
        Ok(ip)
    }

    fn take_requested(
        &self,
        owner: &Attachment,
        ip: IpAddr,
        used: &HashMap<IpAddr, Attachment>,
    ) -> Result<(), IpamError> {
        match used.get(&ip) {
            Some(other) => Err(IpamError::InUse { ip, owner: other.clone() }),
            None => self.take(owner, ip),
        }
    }

    fn take(&self, owner: &Attachment, ip: IpAddr) -> Result<(), IpamError> {
        let path = self.folder.join(ip.to_string());
        // Neither part holds a blank: CNI_CONTAINERID and CNI_IFNAME were checked.
        let target = format!("{} {}", owner.container, owner.ifname);
        std::os::unix::fs::symlink(target, &path).map_err(|source| IpamError::Io {
            what: "reserving",
            path,
            source,
        })
    }

    fn free(&self, ip: IpAddr) -> Result<(), IpamError> {
        let path = self.folder.join(ip.to_string());
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IpamError::Io { what: "releasing", path, source })
            }
            _ => Ok(()),
        }
    }
}

fn of(used: &HashMap<IpAddr, Attachment>, owner: &Attachment) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = used.iter().filter(|(_, of)| *of == owner).map(|(ip, _)| *ip).collect();
    ips.sort();
    ips
}

fn owner_of(target: &Path) -> Attachment {
    let text = target.to_string_lossy();
    let (container, ifname) = text.split_once(' ').unwrap_or((&text, ""));
    Attachment { container: container.to_owned(), ifname: ifname.to_owned() }
}

fn exhausted(set: &RangeSet, used: &HashMap<IpAddr, Attachment>) -> IpamError {
    let used = used.keys().filter(|ip| set.contains(**ip)).count();
    IpamError::Exhausted { set: set.to_string(), used }
}

#[cfg(test)]
mod tests {
    use super::super::Range;
    use super::*;
    use cni_api::AddressRange;

    fn set(subnet: &str) -> RangeSet {
        let range = AddressRange { subnet: subnet.parse().unwrap(), start: None, end: None, gateway: None };
        RangeSet::new(vec![Range::new(&range).unwrap()]).unwrap()
    }

    fn owner(container: &str) -> Attachment {
        Attachment { container: container.to_owned(), ifname: "eth0".to_owned() }
    }

    #[test]
    fn addresses_go_round_and_run_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::lock(&folder.path().join("net")).unwrap();
        let sets = [set("10.0.0.0/30"), set("fd00::/64")];
        let take = |name: &str| store.reserve(&owner(name), &sets, &[]);
        let show = |ips: Vec<IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(show(take("a").unwrap()), "10.0.0.1 fd00::1");
        store.release(&owner("a")).unwrap();
        store.release(&owner("a")).unwrap();
        assert_eq!(show(take("b").unwrap()), "10.0.0.2 fd00::2");
        assert_eq!(show(take("c").unwrap()), "10.0.0.1 fd00::3");
        assert!(store.has_room(&sets[1..]).is_ok());
        assert!(matches!(store.has_room(&sets), Err(IpamError::Exhausted { used: 2, .. })));
        assert!(matches!(take("d"), Err(IpamError::Exhausted { used: 2, .. })));
        assert!(matches!(take("c"), Err(IpamError::AlreadyReserved { .. })));
        // The failed one has left nothing in the second set.
        assert_eq!(store.reservations().unwrap().len(), 4);
        store.release(&owner("b")).unwrap();
        assert_eq!(show(take("d").unwrap()), "10.0.0.2 fd00::4");
    }

    #[test]
    fn requested_addresses_are_given_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::lock(folder.path()).unwrap();
        let sets = [set("10.0.0.0/24"), set("fd00::/64")];
        let wanted: IpAddr = "10.0.0.77".parse().unwrap();
        let got = store.reserve(&owner("a"), &sets, &[wanted]).unwrap();
        assert_eq!(got, [wanted, "fd00::1".parse().unwrap()]);
        assert!(matches!(store.reserve(&owner("b"), &sets, &[wanted]), Err(IpamError::InUse { .. })));
        let foreign = ["192.0.2.1".parse().unwrap()];
        assert!(matches!(store.reserve(&owner("b"), &sets, &foreign), Err(IpamError::NotOurs { .. })));
        assert_eq!(store.owned(&owner("b")).unwrap(), Vec::<IpAddr>::new());
    }

    #[test]
    fn damage_to_notes_is_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::lock(folder.path()).unwrap();
        fs::write(folder.path().join("last.0"), "10.0.").unwrap();
        fs::write(folder.path().join("10.0.0.1"), "a plain file is nobody's reservation").unwrap();
        assert!(store.reservations().unwrap().is_empty());
    }
}
