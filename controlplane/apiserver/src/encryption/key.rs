//! One key: seals and opens the content of objects.
//!
//! ```text
//!   salt (16 random bytes) | nonce (12 random bytes) | ciphertext | tag (16)
//! ```
//!
//! Every object gets a key of its own, derived from the configured one and the salt (HKDF, RFC 5869), so that the number
//! of writes under one configured key has no limit worth watching: a nonce alone would allow 2^32 (NIST SP 800-38D, 8.3).

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};

const SALT_BYTES: usize = 16;
const PURPOSE: &[u8] = b"keelson object at rest";

/// A configured key.
pub struct Key {
    /// What objects name it by: provider, version, name.
    pub id: String,
    algorithm: &'static Algorithm,
    secret: Prk,
}

/// Sealing or opening failed: no entropy, another key, or changed bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the key does not fit, or the bytes were changed")]
pub struct Unfit;

impl Key {
    /// A key of the provider `aesgcm`.
    pub fn aes_gcm(name: &str, secret: &[u8]) -> Key {
        Key::new("aesgcm", name, &AES_256_GCM, secret)
    }

    /// A key of the provider `secretbox`.
    pub fn secret_box(name: &str, secret: &[u8]) -> Key {
        Key::new("secretbox", name, &CHACHA20_POLY1305, secret)
    }

    fn new(provider: &str, name: &str, algorithm: &'static Algorithm, secret: &[u8]) -> Key {
        let secret = Salt::new(HKDF_SHA256, PURPOSE).extract(secret);
        Key { id: format!("{provider}:v1:{name}"), algorithm, secret }
    }

    /// Encrypts `content`, bound to `around`.
    pub fn seal(&self, content: &[u8], around: &[u8]) -> Result<Vec<u8>, Unfit> {
        let mut sealed = vec![0; SALT_BYTES + NONCE_LEN];
        aws_lc_rs::rand::fill(&mut sealed).map_err(|_| Unfit)?;
        let (key, nonce) = self.object_key(&sealed)?;
        let mut bytes = content.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(around), &mut bytes).map_err(|_| Unfit)?;
        sealed.append(&mut bytes);
        Ok(sealed)
    }

    /// Decrypts what was sealed with the same `around`.
    pub fn open(&self, sealed: &[u8], around: &[u8]) -> Result<Vec<u8>, Unfit> {
        let (key, nonce) = self.object_key(sealed)?;
        let mut bytes = sealed[SALT_BYTES + NONCE_LEN..].to_vec();
        let length = key.open_in_place(nonce, Aad::from(around), &mut bytes).map_err(|_| Unfit)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The key and nonce of the object whose salt and nonce `sealed` begins with.
    fn object_key(&self, sealed: &[u8]) -> Result<(LessSafeKey, Nonce), Unfit> {
        let (salt, rest) = sealed.split_at_checked(SALT_BYTES).ok_or(Unfit)?;
        let nonce = rest.first_chunk::<NONCE_LEN>().ok_or(Unfit)?;
        let info = [PURPOSE, salt];
        let key = self.secret.expand(&info, self.algorithm).map_err(|_| Unfit)?;
        Ok((LessSafeKey::new(UnboundKey::from(key)), Nonce::assume_unique_for_key(*nonce)))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the secret.
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_at_the_same_place_opens() {
        for (key, other) in [
            (Key::aes_gcm("a", &[1; 32]), Key::aes_gcm("a", &[2; 32])),
            (Key::secret_box("a", &[1; 32]), Key::aes_gcm("a", &[1; 32])),
        ] {
            let sealed = key.seal(b"tell nobody", b"/registry/secrets/a").unwrap();
            assert!(!sealed.windows(6).any(|bytes| bytes == b"nobody"));
            assert_ne!(sealed, key.seal(b"tell nobody", b"/registry/secrets/a").unwrap());
            assert_eq!(key.open(&sealed, b"/registry/secrets/a").unwrap(), b"tell nobody");
            assert_eq!(key.open(&sealed, b"/registry/secrets/b"), Err(Unfit));
            assert_eq!(other.open(&sealed, b"/registry/secrets/a"), Err(Unfit));
            for cut in 0..sealed.len() {
                assert_eq!(key.open(&sealed[..cut], b"/registry/secrets/a"), Err(Unfit), "{cut}");
            }
            let mut bent = sealed.clone();
            bent[SALT_BYTES + NONCE_LEN] ^= 1;
            assert_eq!(key.open(&bent, b"/registry/secrets/a"), Err(Unfit));
        }
    }
}
