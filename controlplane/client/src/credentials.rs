//! The token that a request carries: fixed, from a file that is replaced now and then, or asked for anew.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::Client;
use crate::kubeconfig::Identity;
use crate::{ClientError, Resource};

/// How long the content of a token file is believed.
const FILE_FRESH: Duration = Duration::from_secs(60);
/// How long a requested token is good for.
const TOKEN_SECONDS: i64 = 3600;
/// A requested token is replaced after this part of its life, in tenths.
const REPLACED_AFTER_TENTHS: u32 = 8;

/// Where the token comes from.
pub(crate) enum Credentials {
    /// The certificate, or nothing, says who we are.
    None,
    Fixed(String),
    File {
        path: PathBuf,
        seen: Mutex<Option<(Instant, String)>>,
    },
    /// A ServiceAccount's, requested with another client's rights.
    Account {
        client: Client,
        namespace: String,
        name: String,
        held: Mutex<Option<(Instant, String)>>,
    },
}

impl Credentials {
    pub(crate) fn of(identity: &Identity) -> Credentials {
        match identity {
            Identity::Anonymous | Identity::Certificate { .. } | Identity::Files { .. } => Credentials::None,
            Identity::Token(token) => Credentials::Fixed(token.clone()),
            Identity::TokenFile(path) => Credentials::File { path: path.clone(), seen: Mutex::new(None) },
        }
    }

    pub(crate) async fn token(&self) -> Result<Option<String>, ClientError> {
        match self {
            Credentials::None => Ok(None),
            Credentials::Fixed(token) => Ok(Some(token.clone())),
            Credentials::File { path, seen } => {
                let mut seen = seen.lock().await;
                if let Some((at, token)) = &*seen
                    && at.elapsed() < FILE_FRESH
                {
                    return Ok(Some(token.clone()));
                }
                let read = tokio::fs::read_to_string(path).await;
                let text =
                    read.map_err(|error| ClientError::Credentials(format!("{}: {error}", path.display())))?;
                let token = text.trim().to_owned();
                *seen = Some((Instant::now(), token.clone()));
                Ok(Some(token))
            }
            Credentials::Account { client, namespace, name, held } => {
                let mut held = held.lock().await;
                if let Some((until, token)) = &*held
                    && Instant::now() < *until
                {
                    return Ok(Some(token.clone()));
                }
                // Boxed: asking is a request itself.
                let (until, token) = Box::pin(request(client, namespace, name)).await?;
                *held = Some((until, token.clone()));
                Ok(Some(token))
            }
        }
    }

    /// The server did not accept the token: the next request asks for another.
    pub(crate) async fn refused(&self) {
        if let Credentials::Account { held, .. } = self {
            *held.lock().await = None;
        }
    }
}

/// Asks for a token; makes the account first where it is missing.
async fn request(client: &Client, namespace: &str, name: &str) -> Result<(Instant, String), ClientError> {
    let wanted = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    });
    let accounts = Resource::SERVICE_ACCOUNTS;
    let answer = match client.create_subresource(&accounts, namespace, name, "token", &wanted).await {
        Err(error) if error.is_not_found() => {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
            });
            match client.create(&accounts, namespace, &account).await {
                Err(error) if !error.already_exists() => return Err(error),
                _ => {}
            }
            client.create_subresource(&accounts, namespace, name, "token", &wanted).await?
        }
        answer => answer?,
    };
    let token = answer["status"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ClientError::Answer(format!("no token for {namespace}/{name}")));
    }
    let ends: Option<Timestamp> =
        answer["status"]["expirationTimestamp"].as_str().and_then(|text| text.parse().ok());
    let life =
        ends.map_or(TOKEN_SECONDS, |ends| ends.as_second() - (client.surroundings().now)().as_second());
    let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
    Ok((Instant::now() + life * REPLACED_AFTER_TENTHS / 10, token.to_owned()))
}
