//! Bootstrap tokens that are over are removed, an hour after: until then a machine that shows one is told that it is late.
//!
//! Reference: upstream's token-cleaner, which removes them at once.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use client::{Client, ClientError, Key, Outcome, Resource, Selection, WorkQueue, work};
use serde_json::Value;

use crate::context::Context;

const NAME: &str = "token-cleaner";
const KEPT_SECONDS: i64 = 3600;

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client: Client = context.client_of(NAME)?;
    let selection =
        Selection { fields: "type=bootstrap.kubernetes.io/token".to_owned(), ..Selection::default() };
    let tokens = context.caches.selected(&Resource::SECRETS, selection);
    tokens.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    tokens.subscribe(move |change| adding.add(change.key.clone()));
    let again = queue.clone();
    work(NAME, queue, 1, move |key: Key| {
        let (client, tokens, again) = (client.clone(), tokens.clone(), again.clone());
        async move {
            let Some(token) = tokens.get(&key).filter(|_| key.namespace == "kube-system") else {
                return Ok(Outcome::Done);
            };
            let now = (client.surroundings().now)().as_second();
            match left(token.value(), now) {
                None => Ok(Outcome::Done),
                Some(seconds) if seconds > 0 => {
                    again.add_after(key, Duration::from_secs(seconds.unsigned_abs()));
                    Ok(Outcome::Done)
                }
                Some(_) => {
                    tracing::info!(token = %key.name, "an expired bootstrap token is removed");
                    match client
                        .delete(&Resource::SECRETS, &key.namespace, &key.name, Some(&token.uid), None)
                        .await
                    {
                        Err(error) if error.is_not_found() || error.is_conflict() => Ok(Outcome::Done),
                        answer => answer.map(|_| Outcome::Done),
                    }
                }
            }
        }
    })
    .await;
    Ok(())
}

/// Seconds until a token is removed; nothing for one that stays.
fn left(token: &Value, now: i64) -> Option<i64> {
    let encoded = token["data"]["expiration"].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let ends: jiff::Timestamp = String::from_utf8(bytes).ok()?.parse().ok()?;
    Some(ends.as_second() + KEPT_SECONDS - now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_stays_an_hour_longer() {
        let token = |text: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            json!({"data": {"expiration": encoded}})
        };
        let now = "2026-01-01T01:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second();
        assert_eq!(left(&token("2026-01-01T00:30:00Z"), now), Some(1800));
        assert_eq!(left(&token("2026-01-01T00:00:00Z"), now), Some(0));
        assert_eq!(left(&token("soon"), now), None);
        assert_eq!(left(&json!({"data": {}}), now), None);
    }
}
