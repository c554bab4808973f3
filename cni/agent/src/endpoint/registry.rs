//! The pods the agent knows, each with its record on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use cni_api::Attachment;
use cni_api::agent::{AgentCall, Endpoint, read_call, write_call};
use netlink::{Link, Neighbour, Route};

use super::recover;

/// Ends the name of a record that is being written.
const TEMPORARY: &str = ".new";

/// By name of the host's end of the link.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    endpoints: BTreeMap<String, Endpoint>,
}

impl Registry {
    /// Reads the records; one that cannot be read counts as lost.
    pub fn open(folder: &Path) -> io::Result<Registry> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut endpoints = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(TEMPORARY) {
                fs::remove_file(&path)?;
                continue;
            }
            match fs::read(&path).map(|line| read_call(&line)) {
                Ok(Ok(AgentCall::Register { endpoint })) if endpoint.link == name => {
                    endpoints.insert(name, endpoint);
                }
                _ => {
                    tracing::warn!(record = %path.display(), "a record of a pod cannot be read; the kernel is asked")
                }
            }
        }
        Ok(Registry { folder: folder.to_owned(), endpoints })
    }

    pub fn all(&self) -> Vec<&Endpoint> {
        self.endpoints.values().collect()
    }

    pub fn get(&self, network: &str, attachment: &Attachment) -> Option<&Endpoint> {
        self.endpoints.values().find(|known| known.network == network && known.attachment == *attachment)
    }

    /// Who has one of these addresses besides `link`.
    pub fn other_owner(&self, endpoint: &Endpoint) -> Option<&Endpoint> {
        let shares = |known: &&Endpoint| known.addresses.iter().any(|ip| endpoint.addresses.contains(ip));
        self.endpoints.values().filter(|known| known.link != endpoint.link).find(shares)
    }

    pub fn insert(&mut self, endpoint: Endpoint) -> io::Result<()> {
        let path = self.folder.join(&endpoint.link);
        let temporary = self.folder.join(format!("{}{TEMPORARY}", endpoint.link));
        let line = write_call(&AgentCall::Register { endpoint: endpoint.clone() });
        let open =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        // Not synced: at a reboot the pods are gone too.
        open?.write_all(line.as_bytes())?;
        fs::rename(&temporary, &path)?;
        self.endpoints.insert(endpoint.link.clone(), endpoint);
        Ok(())
    }

    /// Nothing there is success.
    pub fn remove(&mut self, link: &str) -> io::Result<()> {
        self.endpoints.remove(link);
        match fs::remove_file(self.folder.join(link)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes it what the kernel has: no pod without its link, no link of a pod without its pod.
    pub fn reconcile(
        &mut self,
        network: &str,
        links: &[Link],
        routes: &[Route],
        neighbours: &[Neighbour],
    ) -> io::Result<()> {
        let is_there = |known: &Endpoint| {
            links.iter().any(|link| link.name == known.link && link.index == known.link_index)
        };
        let gone: Vec<String> = self
            .endpoints
            .values()
            .filter(|known| !is_there(known))
            .map(|known| known.link.clone())
            .collect();
        for link in gone {
            tracing::info!(link, "a pod is gone with its link");
            self.remove(&link)?;
        }
        for link in links {
            if self.endpoints.contains_key(&link.name) {
                continue;
            }
            if let Some(endpoint) = recover(network, link, routes, neighbours) {
                tracing::info!(link = %link.name, container = %endpoint.attachment.container, "a pod without a record is recovered");
                self.endpoints.insert(link.name.clone(), endpoint);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn link(endpoint: &Endpoint) -> Link {
        let alias = cni_api::host_link::alias(&endpoint.network, &endpoint.attachment);
        Link {
            index: endpoint.link_index,
            name: endpoint.link.clone(),
            alias: Some(alias),
            ..Link::default()
        }
    }

    #[test]
    fn records_survive_and_the_kernel_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (example("a", 7, "10.244.0.5"), example("b", 8, "10.244.0.6"));
        let mut registry = Registry::open(folder.path()).unwrap();
        registry.insert(a.clone()).unwrap();
        registry.insert(b.clone()).unwrap();
        fs::write(folder.path().join("kn000000000009"), "torn").unwrap();
        fs::write(folder.path().join("kn00000000000a.new"), "half").unwrap();

        let mut registry = Registry::open(folder.path()).unwrap();
        assert_eq!(registry.all(), [&a, &b]);
        assert_eq!(registry.get("keelson", &b.attachment), Some(&b));
        assert_eq!(registry.get("other", &b.attachment), None);
        assert_eq!(registry.other_owner(&example("c", 9, "10.244.0.5")), Some(&a));
        assert_eq!(registry.other_owner(&a), None);

        // b's link is another one by now; c has no record.
        let c = example("c", 9, "10.244.0.7");
        let links = [link(&a), Link { index: 80, alias: None, ..link(&b) }, link(&c)];
        let routes = [Route::new("10.244.0.7/32".parse().unwrap(), None, 9)];
        let neighbours = [Neighbour::permanent(9, c.addresses[0], "0e:00:00:00:00:01".parse().unwrap())];
        registry.reconcile("keelson", &links, &routes, &neighbours).unwrap();
        let known: Vec<&str> = registry.all().iter().map(|e| e.attachment.container.as_str()).collect();
        assert_eq!(known, ["a", "c"]);
        registry.remove(&a.link).unwrap();
        registry.remove(&a.link).unwrap();
        assert!(!folder.path().join(&a.link).exists());
    }
}
