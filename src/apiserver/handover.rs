//! What this server hands over to further ones: its folder's shared keys, the store's members, the cluster's facts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use apiserver::{Handed, Handover, HandoverError};
use serde_json::json;
use store::Store;

/// Reads the folder anew each time: keys change while a server runs.
pub struct SharedKeys {
    pub folder: PathBuf,
    pub store: Store,
    pub facts: BTreeMap<String, String>,
}

impl std::fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedKeys({})", self.folder.display())
    }
}

impl Handover for SharedKeys {
    fn hand_over<'a>(&'a self, id: &'a str, secret: &'a str) -> Handed<'a> {
        Box::pin(async move {
            let unavailable = |why: String| HandoverError::Unavailable(why);
            let files = pki::read_shared(&self.folder).map_err(|error| unavailable(error.to_string()))?;
            let key =
                files.get("ca.key").ok_or_else(|| unavailable("the cluster's key is not here".into()))?;
            if !pki::is_for_servers(key, id, secret) {
                return Err(HandoverError::NotForServers);
            }
            let members = self.store.member().map(|member| member.status().members).unwrap_or_default();
            let peers: Vec<&str> = members.iter().map(|member| member.peer.address.as_str()).collect();
            if peers.is_empty() {
                let why = "this server's store has no other members: it runs without --peer-address";
                return Err(unavailable(why.into()));
            }
            Ok(json!({"files": files, "peers": peers, "facts": self.facts}))
        })
    }
}
