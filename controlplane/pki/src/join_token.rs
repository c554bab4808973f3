//! The token by which a machine joins: which authority to trust, and a secret that the cluster knows.
//!
//! ```text
//! K1<SHA-256 of the authority's certificate (DER), hexadecimal>.<id>.<secret>
//! ```
//!
//! `id.secret` is a bootstrap token of Kubernetes: the id is public, the secret is not. The secret of a token for servers
//! is made of the id with the authority's key: who can only write Secrets cannot make one.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// Version of the form.
const PREFIX: &str = "K1";
const ID_LETTERS: usize = 6;
const SECRET_LETTERS: usize = 16;
const DIGEST_BYTES: usize = 32;
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A join token. Holds a secret: printed only by [`JoinToken::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the authority's certificate.
    pub authority: [u8; DIGEST_BYTES],
    /// Names the token.
    pub id: String,
    secret: String,
}

/// A text that is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a join token: K1<SHA-256 of the cluster's authority>.<id>.<secret> is wanted, as `keelson token create` prints it"
)]
pub struct NoJoinToken;

impl JoinToken {
    /// Reads one; space around it does not matter.
    pub fn parse(text: &str) -> Result<JoinToken, NoJoinToken> {
        let mut parts = text.trim().strip_prefix(PREFIX).ok_or(NoJoinToken)?.split('.');
        let (Some(hash), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoJoinToken);
        };
        let authority = hex::decode(hash).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(NoJoinToken)?;
        if !is_word(id, ID_LETTERS) || !is_word(secret, SECRET_LETTERS) {
            return Err(NoJoinToken);
        }
        Ok(JoinToken { authority, id: id.to_owned(), secret: secret.to_owned() })
    }

    /// A new one for the cluster of an authority. `random` gives a number below its argument.
    pub fn create(authority: [u8; DIGEST_BYTES], random: impl Fn(u64) -> u64) -> JoinToken {
        let word = |letters| (0..letters).map(|_| letter(random(LETTERS.len() as u64))).collect();
        JoinToken { authority, id: word(ID_LETTERS), secret: word(SECRET_LETTERS) }
    }

    /// A new one by which a machine becomes a further server; `authority_key` is the authority's key, PEM.
    pub fn for_servers(
        authority: [u8; DIGEST_BYTES],
        authority_key: &str,
        random: impl Fn(u64) -> u64,
    ) -> JoinToken {
        let JoinToken { authority, id, .. } = JoinToken::create(authority, random);
        let secret = server_secret(authority_key, &id);
        JoinToken { authority, id, secret }
    }

    /// The secret half, for the Secret that the cluster keeps.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// `id.secret`: what is shown to the API.
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// The whole token.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}.{}.{}", hex::encode(self.authority), self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, secret not shown)", self.id)
    }
}

/// The certificate of a PEM bundle that has a digest, as PEM again.
pub fn with_digest(bundle_pem: &str, wanted: &[u8; DIGEST_BYTES]) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(bundle_pem.as_bytes())
        .flatten()
        .find(|certificate| digest(&SHA256, certificate).as_ref() == wanted)
}

/// SHA-256 of the first certificate of a PEM bundle.
pub fn digest_of(bundle_pem: &str) -> Option<[u8; DIGEST_BYTES]> {
    let first = CertificateDer::pem_slice_iter(bundle_pem.as_bytes()).flatten().next()?;
    digest(&SHA256, &first).as_ref().try_into().ok()
}

/// Whether a token was made by [`JoinToken::for_servers`] with this key.
pub fn is_for_servers(authority_key: &str, id: &str, secret: &str) -> bool {
    verify_slices_are_equal(server_secret(authority_key, id).as_bytes(), secret.as_bytes()).is_ok()
}

fn server_secret(authority_key: &str, id: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, authority_key.trim().as_bytes());
    let tag = hmac::sign(&key, format!("keelson token for servers {id}").as_bytes());
    tag.as_ref()
        .iter()
        .take(SECRET_LETTERS)
        .map(|byte| letter(u64::from(*byte) % LETTERS.len() as u64))
        .collect()
}

/// `id` and `secret` of a bootstrap token, where a text has the form of one.
pub fn bootstrap_parts(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.split_once('.')?;
    (is_word(id, ID_LETTERS) && is_word(secret, SECRET_LETTERS)).then_some((id, secret))
}

fn is_word(text: &str, letters: usize) -> bool {
    text.len() == letters && text.bytes().all(|byte| LETTERS.contains(&byte))
}

fn letter(number: u64) -> char {
    let place = usize::try_from(number).unwrap_or_default() % LETTERS.len();
    char::from(LETTERS[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let authority = Authority::create("ca", 1_800_000_000).unwrap();
        let digest = digest_of(authority.certificate_pem()).unwrap();
        let token = JoinToken::create(digest, |below| below / 3);
        assert_eq!(JoinToken::parse(&format!(" {}\n", token.reveal())), Ok(token.clone()));
        assert_eq!(token.bearer(), "cccccc.cccccccccccccccc");
        assert!(with_digest(authority.certificate_pem(), &digest).is_some());
        assert!(with_digest(authority.certificate_pem(), &[0; 32]).is_none());
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[test]
    fn only_a_holder_of_the_key_makes_a_token_for_servers() {
        let (ours, theirs) = (Authority::create("ca", 1).unwrap(), Authority::create("ca", 1).unwrap());
        let token = JoinToken::for_servers([0; 32], &ours.key_pem(), |below| below / 3);
        assert_eq!(JoinToken::parse(&token.reveal()), Ok(token.clone()));
        assert!(is_for_servers(&ours.key_pem(), &token.id, token.secret()));
        assert!(!is_for_servers(&theirs.key_pem(), &token.id, token.secret()));
        assert!(!is_for_servers(&ours.key_pem(), "abcdef", token.secret()));
        let usual = JoinToken::create([0; 32], |below| below / 3);
        assert!(!is_for_servers(&ours.key_pem(), &usual.id, usual.secret()));
    }

    #[test]
    fn what_is_none_says_what_is_wanted() {
        let hash = "ab".repeat(32);
        for text in [
            "".to_owned(),
            "abcdef.0123456789abcdef".to_owned(),
            format!("K2{hash}.abcdef.0123456789abcdef"),
            format!("K1{hash}.abcde.0123456789abcdef"),
            format!("K1{hash}.abcdef.0123456789ABCDEF"),
            format!("K1{hash}.abcdef.0123456789abcdef.x"),
            format!("K1{}.abcdef.0123456789abcdef", &hash[2..]),
        ] {
            assert_eq!(JoinToken::parse(&text), Err(NoJoinToken), "{text}");
        }
        assert_eq!(bootstrap_parts("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
    }
}
