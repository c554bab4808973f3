//! The file that tells the container runtime that pods can be connected: written last, and whole.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::{Value, json};

/// First by name in the folder, as runtimes look.
pub const FILE: &str = "10-keelson.conflist";
/// Not read by any runtime.
const TEMPORARY: &str = ".10-keelson.conflist.new";

/// What pods of this node get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub network: String,
    pub ranges: Vec<IpNet>,
    pub mtu: Option<u32>,
    pub socket: PathBuf,
    pub ipam: PathBuf,
}

impl Desired {
    /// The document.
    pub fn document(&self) -> Value {
        let ranges: Vec<Value> = self
            .ranges
            .iter()
            .map(|range| {
                // The node's own address in the range: no pod gets it.
                let gateway = crate::network::gateway_address(*range);
                json!([{"subnet": range.to_string(), "gateway": gateway.to_string()}])
            })
            .collect();
        let mut plugin = json!({
            "type": "keelson-cni", "mode": "auto", "agentSocket": self.socket,
            "ipam": {"ranges": ranges, "dataDir": self.ipam},
            "capabilities": {"portMappings": true, "mac": true, "ips": true},
        });
        if let Some(mtu) = self.mtu {
            plugin["mtu"] = json!(mtu);
        }
        // Runtimes before CNI 1.1 read the first only (containerd 1.6 refuses all that is newer than 1.0.0); others choose.
        json!({"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": self.network, "plugins": [plugin]})
    }
}

/// Puts the document into the folder unless it is there; says whether it was not.
pub fn write(folder: &Path, desired: &Desired) -> io::Result<bool> {
    let mut text = serde_json::to_string_pretty(&desired.document()).map_err(io::Error::other)?;
    text.push('\n');
    let path = folder.join(FILE);
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    fs::create_dir_all(folder)?;
    let temporary = folder.join(TEMPORARY);
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary);
    let mut file = open?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    Ok(true)
}

/// Nothing there is success.
pub fn remove(folder: &Path) -> io::Result<()> {
    for name in [FILE, TEMPORARY] {
        match fs::remove_file(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Desired {
        Desired {
            network: "keelson".to_owned(),
            ranges: vec!["10.244.4.0/22".parse().unwrap(), "fd00:10:244:1::/64".parse().unwrap()],
            mtu: Some(1450),
            socket: "/run/keelson/net.sock".into(),
            ipam: "/run/keelson/ipam".into(),
        }
    }

    #[test]
    fn the_document_is_one_that_runtimes_read() {
        let text = desired().document().to_string();
        let list = cni_api::NetworkList::parse(text.as_bytes()).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len()), ("keelson", 1));
        assert_eq!(list.version, cni_api::Version::V1_1_0);
        assert_eq!(desired().document()["cniVersion"], "1.0.0", "what older runtimes read");
        let plugin = &desired().document()["plugins"][0];
        assert_eq!(plugin["ipam"]["ranges"][0][0]["gateway"], "10.244.4.1");
        assert_eq!(plugin["ipam"]["ranges"][1][0]["gateway"], "fd00:10:244:1::1");
        assert_eq!(plugin["mtu"], 1450);
    }

    #[test]
    fn it_is_written_once_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("net.d");
        assert!(write(&folder, &desired()).unwrap());
        assert!(!write(&folder, &desired()).unwrap(), "nothing changed");
        assert!(write(&folder, &Desired { mtu: None, ..desired() }).unwrap());
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        remove(&folder).unwrap();
        remove(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
