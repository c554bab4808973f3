//! Who asks, and who we are: client certificates, bearer tokens, and the certificate that we serve with.
//!
//! Nobody is anonymous: a request without a credential is refused like one with a bad one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use pki::{Authority, Certificate, ClientTrust, Profile, Usage};
use serve::{ConnInfo, ServerIdentity};

use super::ServerOptions;
use super::answer::Refusal;
use super::reviews::{Reviews, User};

/// How long a certificate is good that we signed ourselves: a year.
const SELF_SIGNED_SECONDS: i64 = 365 * 86_400;
/// How often the files are looked at for a renewed certificate; it is renewed months before its end.
const RENEWAL_LOOK: Duration = Duration::from_secs(600);

/// Whom we believe.
pub(super) struct Identities {
    trust: Option<ClientTrust>,
}

impl Identities {
    pub(super) fn read(options: &ServerOptions) -> anyhow::Result<Identities> {
        let Some(path) = &options.client_authorities else { return Ok(Identities { trust: None }) };
        let shown = path.display().to_string();
        let bundle = std::fs::read_to_string(path).with_context(|| format!("reading {shown}"))?;
        Ok(Identities { trust: Some(ClientTrust::from_bundle(&shown, &bundle)?) })
    }

    /// The user behind a request.
    pub(super) async fn user(
        &self,
        reviews: &Reviews,
        connection: &ConnInfo,
        headers: &HeaderMap,
    ) -> Result<User, Refusal> {
        if let (Some(trust), false) = (&self.trust, connection.certificates.is_empty()) {
            match trust.identify(&connection.certificates, jiff::Timestamp::now().as_second()) {
                Ok(identity) => return Ok(certified(identity)),
                Err(error) => {
                    tracing::debug!(peer = %connection.peer, %error, "a certificate is not believed")
                }
            }
        }
        if let Some(token) = bearer(headers)
            && let Some(user) = reviews.token(token).await?
        {
            return Ok(user);
        }
        Err(Refusal::new(401, "Unauthorized"))
    }
}

fn certified(identity: pki::Identity) -> User {
    let mut groups = identity.groups;
    groups.push("system:authenticated".into());
    User { name: identity.user, groups, ..User::default() }
}

/// The token of an Authorization header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What we present: the files that were given, else a certificate that nobody knows.
pub(super) fn serving(options: &ServerOptions) -> anyhow::Result<ServerIdentity> {
    let (what, certificate) = match &options.certificate {
        Some(files) => (files.0.display().to_string(), read_pair(files)?),
        None => ("the kubelet's own certificate".to_owned(), self_signed(options)?),
    };
    Ok(ServerIdentity::new(certificate.chain(&what)?, certificate.key(&what)?)?)
}

/// Presents what the files hold when they are renewed; returns when there are none.
pub(super) async fn follow(files: Option<(PathBuf, PathBuf)>, identity: Arc<ServerIdentity>) {
    let Some(files) = files else { return };
    let what = files.0.display().to_string();
    let mut known = read_pair(&files).map(|pair| pair.certificate_pem).unwrap_or_default();
    let mut looks = tokio::time::interval(RENEWAL_LOOK);
    loop {
        looks.tick().await;
        // Files that do not belong together yet are looked at again.
        let Ok(pair) = read_pair(&files) else { continue };
        if pair.certificate_pem == known {
            continue;
        }
        let replaced = pair
            .chain(&what)
            .and_then(|chain| Ok((chain, pair.key(&what)?)))
            .map_err(anyhow::Error::from)
            .and_then(|(chain, key)| Ok(identity.replace(chain, key)?));
        match replaced {
            Ok(()) => {
                tracing::info!(certificate = what, "the serving certificate was renewed");
                known = pair.certificate_pem;
            }
            Err(error) => {
                tracing::warn!(certificate = what, error = %format!("{error:#}"), "a renewed certificate is unusable")
            }
        }
    }
}

fn read_pair((certificate, key): &(PathBuf, PathBuf)) -> anyhow::Result<Certificate> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    Ok(Certificate::from_pem(&certificate.display().to_string(), read(certificate)?, read(key)?)?)
}

fn self_signed(options: &ServerOptions) -> anyhow::Result<Certificate> {
    let now = jiff::Timestamp::now().as_second();
    let authority = Authority::create(&format!("{}-ca@{now}", options.node), now)?;
    let mut names = vec![options.node.clone()];
    if !options.address.ip().is_unspecified() {
        names.push(options.address.ip().to_string());
    }
    let profile = Profile {
        common_name: format!("{}@{now}", options.node),
        organization: None,
        names,
        usage: Usage::Server,
        lifetime_seconds: SELF_SIGNED_SECONDS,
    };
    Ok(authority.issue(&profile, now)?)
}
