//! Becoming a further server of a cluster: from `--join URL --token T` to a folder of keys and the store's members.
//!
//! ```text
//!   token ─► the other server's authority, by its digest ─► keys, members, facts ─► pki/  ─► store-members
//! ```
//!
//! Done once: a machine that has its folder of keys and knows the store's members asks nobody. What joins the store is
//! its own member, later, in the control plane's process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use client::Surroundings;
use join::Cluster;

use super::layout::ServerLayout;

/// Mode of a file without secrets.
const PUBLIC: u32 = 0o644;

/// Where the members of the store are kept that take this one in.
pub fn members_file(data_dir: &Path) -> PathBuf {
    data_dir.join("store-members")
}

/// What this machine was told of the store's members, where it has joined.
pub fn members(data_dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(members_file(data_dir)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Makes this machine a server of the cluster at `--join`, where it is none yet.
pub async fn ensure_joined(layout: &ServerLayout) -> anyhow::Result<()> {
    let control = &layout.control;
    let Some(url) = &control.join else { return Ok(()) };
    let data_dir = &layout.node.options.data_dir;
    if members_file(data_dir).exists() || store::raft::is_member(&layout.store()) {
        return Ok(());
    }
    let Some(token) = control.token.read()? else {
        bail!(
            "--join {url}: this machine is no server yet: give --token (`keelson token create --server` there makes one)"
        );
    };
    let limit = Duration::from_secs(control.token.join_seconds);
    let keys = join::keys(url.trim_end_matches('/'), &token, Surroundings::system(), limit).await?;
    agree(&keys.cluster, &layout.node.cluster)?;
    ensure!(!keys.peers.is_empty(), "{url} names no member of its store: it runs without --peer-address");
    pki::install_shared(&layout.pki(""), &keys.files)?;
    let path = members_file(data_dir);
    pki::write_whole(&path, format!("{}\n", keys.peers.join("\n")).as_bytes(), PUBLIC)
        .with_context(|| format!("writing {}", path.display()))?;
    tracing::info!(server = url, members = ?keys.peers, "this machine is to be a server of the cluster");
    Ok(())
}

/// All servers must say the same of the cluster. Names the flag to give where they do not.
fn agree(theirs: &Cluster, ours: &Cluster) -> anyhow::Result<()> {
    let own = ours.facts();
    // The address of DNS follows from the ranges.
    for (name, wanted) in theirs.facts().into_iter().filter(|(name, _)| name != "cluster-dns") {
        let given = own.get(&name).map(String::as_str).unwrap_or_default();
        ensure!(
            given == wanted,
            "the cluster has --{name} {wanted}, and this server {given}: give --{name} {wanted}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_differ_are_told_the_flag() {
        let cluster = |services: &str| Cluster {
            pods: vec!["10.244.0.0/16".parse().unwrap()],
            services: vec![services.parse().unwrap()],
            domain: "cluster.local".into(),
            dns: vec!["10.96.0.10".parse().unwrap()],
        };
        assert!(agree(&cluster("10.96.0.0/16"), &cluster("10.96.0.0/16")).is_ok());
        let error = agree(&cluster("10.97.0.0/16"), &cluster("10.96.0.0/16")).unwrap_err().to_string();
        assert!(error.ends_with("give --service-cidr 10.97.0.0/16"), "{error}");
    }

    #[test]
    fn members_are_kept_for_later_starts() {
        let folder = tempfile::tempdir().unwrap();
        assert!(members(folder.path()).is_empty());
        std::fs::write(members_file(folder.path()), "192.0.2.1:2380\n192.0.2.2:2380\n").unwrap();
        assert_eq!(members(folder.path()), ["192.0.2.1:2380", "192.0.2.2:2380"]);
    }
}
