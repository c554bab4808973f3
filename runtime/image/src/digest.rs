//! Content digests: `sha256:<64 hex>` or `sha512:<128 hex>`, checked once and safe as a file name.
//!
//! **Invariants.** A [`Digest`] holds lower-case hexadecimal of the right length and nothing else, so
//! joining it to a path cannot leave the directory. Reference: OCI image spec, descriptor.md "Digests".

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest as hash;
use serde::{Deserialize, Serialize};

/// What content is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("digest {0:?} has no algorithm: wanted sha256:<hex>")]
    NoAlgorithm(String),
    #[error("digest {0:?} uses an algorithm other than sha256 and sha512")]
    UnknownAlgorithm(String),
    #[error("digest {0:?} is not {1} lower-case hexadecimal digits after its colon")]
    NotHexadecimal(String, usize),
}

// === impl Digest ===

impl Digest {
    /// The SHA-256 of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(format!("sha256:{}", hex::encode(hash::digest(&hash::SHA256, bytes))))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm's name.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// A hasher of this digest's algorithm.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        Hasher::new(if self.algorithm() == "sha512" { Algorithm::Sha512 } else { Algorithm::Sha256 })
    }

    /// Whether these bytes are the content that this digest names.
    #[must_use]
    pub fn names(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (algorithm, hex) =
            text.split_once(':').ok_or_else(|| DigestError::NoAlgorithm(text.to_owned()))?;
        let wanted = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(DigestError::UnknownAlgorithm(text.to_owned())),
        };
        let hexadecimal = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != wanted || !hexadecimal {
            return Err(DigestError::NotHexadecimal(text.to_owned(), wanted));
        }
        Ok(Digest(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Digest, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

/// The algorithms that the OCI specification registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

/// A digest in the making.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: hash::Context,
}

// === impl Hasher ===

impl Hasher {
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Hasher {
        let context = match algorithm {
            Algorithm::Sha256 => hash::Context::new(&hash::SHA256),
            Algorithm::Sha512 => hash::Context::new(&hash::SHA512),
        };
        Hasher { algorithm, context }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    #[must_use]
    pub fn finish(self) -> Digest {
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        };
        Digest(format!("{name}:{}", hex::encode(self.context.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_what_they_say() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert!(empty.parse::<Digest>().unwrap().names(b""));
        let long = Hasher::new(Algorithm::Sha512).finish();
        assert_eq!(long.hex().len(), 128);
        assert!(long.names(b""));
        assert!(!long.names(b"x"));
    }

    #[test]
    fn wrong_digests_say_why() {
        for (text, wanted) in [
            ("abc", "has no algorithm"),
            ("md5:0123", "other than sha256"),
            ("sha256:00", "not 64"),
            ("sha256:../../../../etc/passwd", "not 64"),
            ("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "not 64 lower-case"),
        ] {
            let said = text.parse::<Digest>().unwrap_err().to_string();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
