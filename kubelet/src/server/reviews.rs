//! What the API says about those who ask: whose token it is, and whether they may.
//!
//! Tokens are remembered by their digest only. An API that does not answer allows nothing.
//!
//! Reference: TokenReview and SubjectAccessReview.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use client::{Client, Resource};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::Refusal;
use super::review_cache::ReviewCache;
use super::route::Route;

/// For how long a token's answer holds.
pub(super) const TOKEN_FRESH: Duration = Duration::from_secs(60);
/// For how long a yes holds.
pub(super) const ALLOWED_FRESH: Duration = Duration::from_secs(60);
/// For how long a no holds.
pub(super) const DENIED_FRESH: Duration = Duration::from_secs(10);

const TOKEN_REVIEWS: Resource =
    Resource::fixed("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false);
const ACCESS_REVIEWS: Resource =
    Resource::fixed("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false);

/// Somebody who proved who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

/// Who asks for which right.
type Asked = (User, &'static str, &'static str);

/// The API's word, remembered.
pub(super) struct Reviews {
    client: Client,
    node: String,
    tokens: ReviewCache<Vec<u8>, Option<User>>,
    access: ReviewCache<Asked, bool>,
}

impl Reviews {
    pub(super) fn new(client: Client, node: String) -> Reviews {
        Reviews { client, node, tokens: ReviewCache::new(), access: ReviewCache::new() }
    }

    /// The user of a token; none where it is not good.
    pub(super) async fn token(&self, token: &str) -> Result<Option<User>, Refusal> {
        let key = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        if let Some(known) = self.tokens.get(&key, Instant::now()) {
            return Ok(known);
        }
        let review = json!({
            "apiVersion": TOKEN_REVIEWS.api_version(), "kind": "TokenReview", "spec": {"token": token},
        });
        let answer = self.client.create(&TOKEN_REVIEWS, "", &review).await.map_err(|error| {
            tracing::warn!(%error, "a token cannot be reviewed");
            Refusal::new(401, "Unauthorized")
        })?;
        let status = &answer["status"];
        let user = (status["authenticated"] == true).then(|| User::read(&status["user"]));
        let fresh = if user.is_some() { TOKEN_FRESH } else { DENIED_FRESH };
        self.tokens.put(key, user.clone(), Instant::now(), fresh);
        Ok(user)
    }

    /// Refuses those who have none of the rights that a route takes.
    pub(super) async fn require(&self, user: &User, route: &Route) -> Result<(), Refusal> {
        let who = || {
            let subresources = route.subresources.join(" ");
            format!(
                "(user={}, verb={}, resource=nodes, subresource(s)=[{subresources}])",
                user.name, route.verb
            )
        };
        for subresource in route.subresources {
            match self.allows(user, route.verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, user = user.name, "access cannot be reviewed");
                    return Err(Refusal::new(500, format!("Authorization error {}", who())));
                }
            }
        }
        Err(Refusal::new(403, format!("Forbidden {}", who())))
    }

    async fn allows(
        &self,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, client::ClientError> {
        let asked = (user.clone(), verb, subresource);
        if let Some(known) = self.access.get(&asked, Instant::now()) {
            return Ok(known);
        }
        let review = json!({
            "apiVersion": ACCESS_REVIEWS.api_version(), "kind": "SubjectAccessReview", "spec": {
                "user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
                "resourceAttributes": {
                    "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self.node,
                },
            },
        });
        let answer = self.client.create(&ACCESS_REVIEWS, "", &review).await?;
        let allowed = answer["status"]["allowed"] == true;
        let fresh = if allowed { ALLOWED_FRESH } else { DENIED_FRESH };
        self.access.put(asked, allowed, Instant::now(), fresh);
        Ok(allowed)
    }
}

impl User {
    fn read(value: &Value) -> User {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        let extra = value["extra"].as_object().into_iter().flatten();
        User {
            name: text("username"),
            uid: text("uid"),
            groups: list(&value["groups"]),
            extra: extra.map(|(key, values)| (key.clone(), list(values))).collect(),
        }
    }
}
