//! What a machine needs to become a further server of a cluster: the keys that all servers hold alike.
//!
//! They come over TLS from a server whose authority is the token's, to whoever shows a token for servers.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Surroundings};
use pki::JoinToken;
use serde_json::Value;

use crate::discover::discover;
use crate::identity::{of_token, patiently};
use crate::{Cluster, JoinError};

const PROGRAM: &str = "keelson server";
const PATH: &str = "/keelson/v1/server";

/// What a server handed over. Holds secrets: not printable.
pub struct Keys {
    /// By their names in the folder of keys.
    pub files: BTreeMap<String, String>,
    /// Members of the store, `ADDRESS:PORT`.
    pub peers: Vec<String>,
    /// Ranges and names, which all servers must agree on.
    pub cluster: Cluster,
}

/// Asks a server (`https://ADDRESS:PORT`) for the keys; again where it does not answer, until `limit` is over.
pub async fn keys(
    server: &str,
    token: &JoinToken,
    surroundings: Surroundings,
    limit: Duration,
) -> Result<Keys, JoinError> {
    patiently(limit, surroundings, "not a server of the cluster yet", || once(server, token, surroundings))
        .await
}

async fn once(server: &str, token: &JoinToken, surroundings: Surroundings) -> Result<Keys, JoinError> {
    let config = discover(server, token, surroundings).await?;
    let client = Client::new(config.with_token(token.bearer()), PROGRAM, surroundings)?;
    let told = client.get_path(PATH).await.map_err(|error| match error.status() {
        Some(status) if status.code == 403 => {
            JoinError::NotForServers { id: token.id.clone(), why: status.message.clone() }
        }
        _ => of_token(error.into(), token),
    })?;
    read(&told)
}

fn read(told: &Value) -> Result<Keys, JoinError> {
    let texts = |value: &Value| -> BTreeMap<String, String> {
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        value.as_object().into_iter().flatten().filter_map(text).collect()
    };
    let peers = told["peers"].as_array().into_iter().flatten();
    Ok(Keys {
        files: texts(&told["files"]),
        peers: peers.filter_map(|peer| peer.as_str().map(str::to_owned)).collect(),
        cluster: Cluster::read(&told["facts"])?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_handed_over_is_read() {
        let facts = json!({"cluster-cidr": "10.244.0.0/16", "service-cidr": "10.96.0.0/16",
            "cluster-domain": "cluster.local", "cluster-dns": "10.96.0.10"});
        let told =
            json!({"files": {"ca.crt": "A", "sa.key": "B"}, "peers": ["192.0.2.1:2380"], "facts": facts});
        let keys = read(&told).unwrap();
        assert_eq!(
            keys.files,
            BTreeMap::from([("ca.crt".into(), "A".into()), ("sa.key".into(), "B".into())])
        );
        assert_eq!(
            (keys.peers, keys.cluster.domain.as_str()),
            (vec!["192.0.2.1:2380".into()], "cluster.local")
        );
        assert!(read(&json!({"files": {}, "peers": []})).is_err());
    }
}
