//! Keys of the cluster and an identity for every part, made at the first start and renewed at later ones.

use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::Context as _;
use pki::{Folder, NodeRequest, PartRequest};

use super::layout::ServerLayout;
use crate::apiserver;

/// Parts with a kubeconfig: where it belongs, its name, its user.
const PARTS: &[(Home, &str, &str)] = &[
    (Home::Control, "scheduler", "system:kube-scheduler"),
    (Home::Control, "controllers", "system:kube-controller-manager"),
    (Home::Node, "agent", "system:keelson:agent"),
    (Home::Node, "proxy", "system:kube-proxy"),
    (Home::Node, "dns", "system:kube-dns"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Control,
    Node,
}

/// Makes what is missing below the data folder, and the administrator's kubeconfig.
pub fn ensure(layout: &ServerLayout) -> anyhow::Result<()> {
    let (options, control) = (&layout.node.options, &layout.control);
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("making {}", options.data_dir.display()))?;
    let now = jiff::Timestamp::now().as_second();
    let server = layout.api_url();
    let keys =
        Folder::ensure(&layout.pki(""), &apiserver::folder_request(&layout.apiserver_options()?, now)?)?;
    let name = |home, name, user| {
        let folder = match home {
            Home::Control => layout.control(""),
            Home::Node => layout.node.node(""),
        };
        keys.ensure_part(&folder, &PartRequest { name, server: &server, user, group: None, now })
    };
    for (home, part, user) in PARTS {
        name(*home, part, user)?;
    }
    let mut addresses = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    addresses.extend(layout.node.node_ips.iter().map(ToString::to_string));
    let node = NodeRequest { server: &server, name: &layout.node.node_name, addresses: &addresses, now };
    keys.ensure_node(&layout.node.node(""), &node)?;
    apiserver::write_admin(&keys, &server, &control.write_kubeconfig, now)?;
    if control.processes == 2 {
        for folder in [layout.pki(""), layout.control(""), layout.store()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            give(&folder, control.control_uid)?;
        }
    }
    Ok(())
}

/// Makes a folder and what is in it the control plane's. Links are changed, never followed.
fn give(path: &Path, owner: u32) -> anyhow::Result<()> {
    let told = || format!("giving {} to user {owner}", path.display());
    let kind = std::fs::symlink_metadata(path).with_context(told)?.file_type();
    if kind.is_symlink() {
        anyhow::bail!("{} is a link; a folder of keys or of the store has none", path.display());
    }
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).with_context(told)? {
            give(&entry.with_context(told)?.path(), owner)?;
        }
    }
    chown(path, Some(owner), Some(owner)).with_context(told)
}
