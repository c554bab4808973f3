//! Who asks, and who we are: client certificates, bearer tokens, and the certificate that we serve with.
//!
//! Nobody is anonymous: a request without a credential is refused like one with a bad one.

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
        Some((certificate, key)) => {
            let what = certificate.display().to_string();
            let read = |path: &std::path::Path| {
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
            };
            (what.clone(), Certificate::from_pem(&what, read(certificate)?, read(key)?)?)
        }
        None => {
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
            ("the kubelet's own certificate".to_owned(), authority.issue(&profile, now)?)
        }
    };
    Ok(ServerIdentity::new(certificate.chain(&what)?, certificate.key(&what)?)?)
}
