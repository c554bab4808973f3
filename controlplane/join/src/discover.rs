//! The cluster's authorities, from a server that is not trusted yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, ClientError, Config, Resource, Surroundings};
use pki::JoinToken;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;

use crate::JoinError;

const PROGRAM: &str = "keelson agent";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kubeconfig {
    clusters: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cluster {
    #[serde(rename = "certificate-authority-data")]
    authorities: String,
}

/// Whom to trust at `server` (`https://HOST:PORT`): the authority that the token names vouches for the server, and
/// the server for the rest of the bundle.
pub async fn discover(
    server: &str,
    token: &JoinToken,
    surroundings: Surroundings,
) -> Result<Config, JoinError> {
    let stranger = Config::of_server(server, Vec::new())?;
    let client = Client::of_stranger(&stranger, PROGRAM, surroundings)?;
    let bundle = cluster_info(&client, server).await?;
    let wrong = || JoinError::WrongAuthority { server: server.to_owned() };
    let authority = pki::with_digest(&bundle, &token.authority).ok_or_else(wrong)?;
    let known = Config::of_server(server, vec![authority])?;
    let client = Client::new(known.clone(), PROGRAM, surroundings)?;
    let bundle = match cluster_info(&client, server).await {
        Err(JoinError::Unreachable { why, .. }) if why.contains("not valid for name") => {
            return Err(JoinError::WrongName { server: server.to_owned() });
        }
        // It answered a moment ago: now only its certificate can be what is wrong.
        Err(JoinError::Unreachable { why, .. }) if why.contains("certificate") => return Err(wrong()),
        answer => answer?,
    };
    let authorities = CertificateDer::pem_slice_iter(bundle.as_bytes()).flatten().collect();
    Ok(known.trusting(authorities))
}

/// The PEM bundle in kube-public/cluster-info.
async fn cluster_info(client: &Client, server: &str) -> Result<String, JoinError> {
    let nothing = |why: &str| JoinError::NoCluster { server: server.to_owned(), why: why.to_owned() };
    let map = match client.get(&Resource::CONFIG_MAPS, "kube-public", "cluster-info").await {
        Ok(map) => map,
        Err(error @ (ClientError::Unreachable { .. } | ClientError::TimedOut { .. })) => {
            return Err(unreachable(server, &error));
        }
        Err(error) => return Err(nothing(&error.to_string())),
    };
    bundle(&map).ok_or_else(|| nothing("its cluster-info holds no authority"))
}

/// The error with its causes, in one line.
pub(crate) fn unreachable(server: &str, error: &ClientError) -> JoinError {
    let mut why = match error {
        ClientError::Unreachable { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let mut cause = std::error::Error::source(error).and_then(std::error::Error::source);
    while let Some(next) = cause {
        why.push_str(": ");
        why.push_str(&next.to_string());
        cause = next.source();
    }
    JoinError::Unreachable { server: server.to_owned(), why }
}

fn bundle(map: &Value) -> Option<String> {
    let kubeconfig: Kubeconfig = serde_saphyr::from_str(map["data"]["kubeconfig"].as_str()?).ok()?;
    let data = &kubeconfig.clusters.first()?.cluster.authorities;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}
