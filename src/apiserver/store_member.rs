//! Opening the API's store: alone, or as a member of a cluster that others can join.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use pki::Folder;
use store::raft::{self, Change, Client, Peer, PeerTls, RaftOptions, Wire};
use store::{SingleOptions, Store};
use tokio_util::sync::CancellationToken;

/// How long the other members are waited for before another line in the log says so.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// Between two attempts to be taken in.
const JOIN_AGAIN: Duration = Duration::from_secs(1);

/// How the store is reached by its other members.
#[derive(Clone, Debug, Args)]
pub struct StoreFlags {
    /// Address and port by which other members of the store reach this one; without it the store has no other members.
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer_address: Option<SocketAddr>,
    /// What this member is called in lists.
    #[arg(long, default_value = "", value_name = "NAME")]
    peer_name: String,
    /// Members that take this one in, where it has no store yet.
    #[arg(long, value_delimiter = ',', requires = "peer_address", value_name = "ADDRESS:PORT")]
    join_peer: Vec<String>,
}

/// Opens the store in `folder`. Comes back when it holds all that was acknowledged before.
pub async fn open(
    flags: &StoreFlags,
    keys: &Folder,
    folder: &Path,
    stopping: &CancellationToken,
) -> anyhow::Result<Store> {
    let Some(listen) = flags.peer_address else {
        if raft::is_member(folder) {
            bail!("the store in {} has other members: give --peer-address", folder.display());
        }
        return Ok(Store::open_single(folder, SingleOptions::default())?);
    };
    let tls = PeerTls::new(&keys.peer, keys.peer_authority.certificate_pem()).map_err(anyhow::Error::msg)?;
    let peer = Peer { name: flags.peer_name.clone(), address: listen.to_string() };
    let options = RaftOptions::new(peer.clone());
    let wire = Wire::Tls { listen, tls: tls.clone() };
    let (path, joins) = (folder.to_owned(), !flags.join_peer.is_empty());
    let opening = tokio::task::spawn_blocking(move || Store::open_member(&path, options, wire, joins));
    let store = opening.await.context("opening the store")??;
    let whole = async {
        if joins {
            join(&store, &peer, &flags.join_peer, &tls).await;
        }
        settle(&store).await;
    };
    match stopping.run_until_cancelled(whole).await {
        Some(()) => Ok(store),
        None => bail!("stopped while the store waited for its other members"),
    }
}

/// Has the members take this one in, and waits for its vote.
async fn join(store: &Store, peer: &Peer, members: &[String], tls: &PeerTls) {
    let Some(member) = store.member() else { return };
    let id = member.id();
    for address in members.iter().cycle() {
        if member.status().members.iter().any(|member| member.id == id && member.voter) {
            tracing::info!(member = format!("{id:x}"), "this member of the store has its vote");
            return;
        }
        let client = Client::new(address, tls.clone());
        let taken_in = async {
            client.change(&Change::AddLearner { id, peer: peer.clone() }).await?;
            client.change(&Change::Promote { id }).await
        };
        if let Err(error) = taken_in.await {
            tracing::warn!(address, %error, "this member of the store is not taken in yet; it is tried again");
        }
        tokio::time::sleep(JOIN_AGAIN).await;
    }
}

/// Waits until this member has applied what was acknowledged before it started.
async fn settle(store: &Store) {
    let Some(member) = store.member() else { return };
    while let Err(error) = member.settled(SETTLE_WAIT).await {
        tracing::warn!(error, "the store waits for its other members: a majority of them must run");
    }
}
