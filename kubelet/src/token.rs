//! ServiceAccount tokens bound to a pod: requested, kept, renewed before they end.
//!
//! ```text
//! none ─request─> held ─80 % of its life, or a day─> held, renewed at the next look
//!                   └─ renewal fails: the old one, as long as it is good; tried again soon
//! ```
//!
//! Tokens live in memory only, here, and in memory-backed volumes.
//!
//! Reference: TokenRequest, KEP-1205.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Client, Resource};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::pod::{Pod, PodUid};

/// What a token is renewed after, of a hundred parts of its life.
const RENEWED_AFTER_PERCENT: i64 = 80;
/// However long it lives.
const LONGEST_KEPT_SECONDS: i64 = 24 * 3600;
/// Spreads the renewals of pods that started together.
const JITTER_SECONDS: u64 = 10;
/// After a renewal that failed.
const RETRY: Duration = Duration::from_secs(30);
/// What a token lives without a wish.
pub const DEFAULT_SECONDS: i64 = 3600;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenWish {
    /// Empty: the API server's own.
    pub audience: String,
    pub seconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to fetch token: {0}")]
pub struct TokenError(String);

/// One token. Its text is not printed.
#[derive(Clone)]
pub struct Token {
    text: Arc<str>,
    /// When to look again.
    pub renewed: Instant,
    ends: Timestamp,
}

impl Token {
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token until {}", self.ends)
    }
}

/// The tokens of all pods.
pub struct Tokens {
    client: Client,
    held: Mutex<HashMap<PodUid, HashMap<TokenWish, Token>>>,
}

impl Tokens {
    pub fn new(client: Client) -> Tokens {
        Tokens { client, held: Mutex::default() }
    }

    /// A token of the pod's account that is good, and renewed where it is time.
    pub async fn get(&self, pod: &Pod, wish: &TokenWish) -> Result<Token, TokenError> {
        let known = self.held().get(&pod.uid).and_then(|tokens| tokens.get(wish)).cloned();
        if let Some(token) = &known
            && Instant::now() < token.renewed
        {
            return Ok(token.clone());
        }
        let token = match (self.request(pod, wish).await, known) {
            (Ok(token), _) => token,
            (Err(error), Some(old)) if old.ends > (self.client.surroundings().now)() => {
                tracing::warn!(pod = %pod.key, %error, "a token is not renewed; the old one is good until {}", old.ends);
                Token { renewed: Instant::now() + RETRY, ..old }
            }
            (Err(error), _) => return Err(error),
        };
        self.held().entry(pod.uid.clone()).or_default().insert(wish.clone(), token.clone());
        Ok(token)
    }

    pub fn forget(&self, pod: &PodUid) {
        self.held().remove(pod);
    }

    async fn request(&self, pod: &Pod, wish: &TokenWish) -> Result<Token, TokenError> {
        let request = request(pod, wish);
        let accounts = Resource::SERVICE_ACCOUNTS;
        let (namespace, account) = (&pod.key.namespace, pod.service_account());
        let answer = self
            .client
            .create_subresource(&accounts, namespace, account, "token", &request)
            .await
            .map_err(|error| TokenError(error.to_string()))?;
        let surroundings = self.client.surroundings();
        let jitter = i64::try_from((surroundings.random)(JITTER_SECONDS)).unwrap_or_default();
        read(&answer, wish, (surroundings.now)(), jitter)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<PodUid, HashMap<TokenWish, Token>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(pod: &Pod, wish: &TokenWish) -> Value {
    let mut spec = json!({
        "expirationSeconds": wish.seconds,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod.key.name, "uid": pod.uid.as_str()},
    });
    if !wish.audience.is_empty() {
        spec["audiences"] = json!([wish.audience]);
    }
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
}

fn read(answer: &Value, wish: &TokenWish, now: Timestamp, jitter: i64) -> Result<Token, TokenError> {
    let text = answer["status"]["token"].as_str().filter(|text| !text.is_empty());
    let ends =
        answer["status"]["expirationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let (Some(text), Some(ends)) = (text, ends) else {
        return Err(TokenError("the answer holds no token or no end of it".into()));
    };
    // The server may have granted another life than was asked for.
    let granted = answer["spec"]["expirationSeconds"].as_i64().unwrap_or(wish.seconds);
    let left = seconds_kept(ends.as_second() - now.as_second(), granted, jitter);
    Ok(Token { text: text.into(), renewed: Instant::now() + left, ends })
}

/// For how long a token with `left` of `life` seconds is not renewed.
fn seconds_kept(left: i64, life: i64, jitter: i64) -> Duration {
    let last_part = life * (100 - RENEWED_AFTER_PERCENT) / 100;
    let kept = (left - last_part).min(LONGEST_KEPT_SECONDS) - jitter;
    Duration::from_secs(u64::try_from(kept).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_in_time() {
        for (left, life, jitter, kept) in [
            (3600, 3600, 0, 2880),
            (3600, 3600, 10, 2870),
            (3000, 3600, 0, 2280),
            (700, 3600, 0, 0),
            (-5, 3600, 0, 0),
            (864_000, 864_000, 5, 86_395),
            (600, 600, 0, 480),
        ] {
            assert_eq!(seconds_kept(left, life, jitter), Duration::from_secs(kept), "{left} of {life}");
        }
    }

    #[test]
    fn requests_are_bound_to_the_pod() {
        let pod = Pod::of(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}}));
        let wish = TokenWish { audience: "vault".into(), seconds: 600 };
        let spec = &request(&pod, &wish)["spec"];
        assert_eq!(spec["boundObjectRef"]["uid"], "u-1");
        assert_eq!((&spec["audiences"], &spec["expirationSeconds"]), (&json!(["vault"]), &json!(600)));
        let plain = request(&pod, &TokenWish { audience: String::new(), seconds: 600 });
        assert!(plain["spec"].get("audiences").is_none());
    }

    #[test]
    fn answers_are_read() {
        let wish = TokenWish { audience: String::new(), seconds: 3600 };
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let answer = json!({"status": {"token": "secret", "expirationTimestamp": "2026-01-01T01:00:00Z"}});
        let token = read(&answer, &wish, now, 0).unwrap();
        assert_eq!(token.text(), "secret");
        assert!(!format!("{token:?}").contains("secret"));
        assert!(read(&json!({"status": {}}), &wish, now, 0).is_err());
    }
}
