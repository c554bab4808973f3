//! Join tokens as the cluster keeps them: Secrets of type `bootstrap.kubernetes.io/token` in kube-system.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, ClientError, Config, Resource};
use jiff::{SignedDuration, Timestamp};
use pki::JoinToken;
use serde_json::{Value, json};

use crate::JoinError;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";
const NODES: &str = "system:bootstrappers:keelson:nodes";
const SERVERS: &str = "system:bootstrappers:keelson:servers";

/// What a machine becomes by a token.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    Node,
    /// A further server; the cluster's authority has this key, PEM.
    Server {
        authority_key: &'a str,
    },
}

/// One token, as `token list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `id.secret`
    pub token: String,
    /// None: it does not expire.
    pub expires: Option<Timestamp>,
    pub usages: Vec<String>,
    pub description: String,
    pub groups: Vec<String>,
}

/// Makes a token for the cluster of a kubeconfig. No `ttl`: it is good until it is revoked.
pub async fn create(
    client: &Client,
    config: &Config,
    ttl: Option<SignedDuration>,
    description: &str,
    purpose: Purpose<'_>,
) -> Result<JoinToken, JoinError> {
    let surroundings = client.surroundings();
    let authority = pki::digest_of(&config.authorities_pem())
        .ok_or_else(|| JoinError::Facts("the kubeconfig names no authority".into()))?;
    let (token, group) = match purpose {
        Purpose::Node => (JoinToken::create(authority, surroundings.random), NODES),
        Purpose::Server { authority_key } => {
            (JoinToken::for_servers(authority, authority_key, surroundings.random), SERVERS)
        }
    };
    let expires = ttl.map(|ttl| whole_seconds((surroundings.now)() + ttl));
    client.create(&Resource::SECRETS, NAMESPACE, &secret(&token, expires, description, group)).await?;
    Ok(token)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn secret(token: &JoinToken, expires: Option<Timestamp>, description: &str, group: &str) -> Value {
    let mut data = json!({
        "token-id": token.id, "token-secret": token.secret(), "auth-extra-groups": group,
        "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
    });
    if let Some(expires) = expires {
        data["expiration"] = expires.to_string().into();
    }
    if !description.is_empty() {
        data["description"] = description.into();
    }
    json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE, "stringData": data,
        "metadata": {"name": format!("{PREFIX}{}", token.id), "namespace": NAMESPACE}})
}

/// Every token, by its id.
pub async fn list(client: &Client) -> Result<Vec<Listed>, ClientError> {
    let query = [("fieldSelector", "type=bootstrap.kubernetes.io/token")];
    let list = client.list(&Resource::SECRETS, NAMESPACE, &query).await?;
    Ok(list["items"].as_array().into_iter().flatten().map(read).collect())
}

fn read(secret: &Value) -> Listed {
    let text = |name: &str| {
        let bytes = STANDARD.decode(secret["data"][name].as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let usages = ["authentication", "signing"];
    let groups = text("auth-extra-groups");
    Listed {
        token: format!("{}.{}", text("token-id"), text("token-secret")),
        expires: text("expiration").parse().ok(),
        usages: usages
            .into_iter()
            .filter(|usage| text(&format!("usage-bootstrap-{usage}")) == "true")
            .map(str::to_owned)
            .collect(),
        description: text("description"),
        groups: groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect(),
    }
}

/// Removes a token by its id; the whole token will do. Says the id.
pub async fn revoke(client: &Client, token: &str) -> Result<String, JoinError> {
    let id = match JoinToken::parse(token) {
        Ok(token) => token.id,
        Err(_) => token.split('.').next().unwrap_or_default().to_owned(),
    };
    match client.delete(&Resource::SECRETS, NAMESPACE, &format!("{PREFIX}{id}"), None, None).await {
        Err(error) if error.is_not_found() => Err(JoinError::Facts(format!("there is no token {id:?}"))),
        answer => Ok(answer.map(|_| id)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_says_what_the_token_is() {
        let token = JoinToken::create([7; 32], |_| 1);
        let expires = "2026-01-02T00:00:00Z".parse().unwrap();
        let mut made = secret(&token, Some(expires), "for the rack", NODES);
        assert_eq!(made["metadata"]["name"], "bootstrap-token-111111");
        // As the server stores it.
        let texts = made["stringData"].as_object().cloned().unwrap();
        for (name, text) in texts {
            made["data"][name] = STANDARD.encode(text.as_str().unwrap()).into();
        }
        let listed = Listed {
            token: token.bearer(),
            expires: Some(expires),
            usages: vec!["authentication".into(), "signing".into()],
            description: "for the rack".into(),
            groups: vec![NODES.into()],
        };
        assert_eq!(read(&made), listed);
        assert_eq!(secret(&token, None, "", NODES)["stringData"].get("expiration"), None);
    }
}
