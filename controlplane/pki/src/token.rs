//! ServiceAccount tokens: JSON Web Tokens signed with ES256 by a set of keys with ids.
//!
//! The newest key signs, all verify. Whether the account, pod or node behind a token still exists is the
//! authenticator's question, not ours.
//!
//! Reference: RFC 7519, KEP-1205 (bound tokens), KEP-4193 (node and jti claims).

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use crate::PkiError;

/// Clock difference that is forgiven, as upstream.
const LEEWAY_SECONDS: i64 = 60;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is for.
    pub aud: Vec<String>,
    /// Not valid from this second on.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Unique per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Kubernetes' own part.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    /// Not valid before this second.
    pub nbf: i64,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The account's namespace.
    pub namespace: String,
    /// The node that the pod ran on when the token was made, or that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundTo>,
    /// The pod it dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundTo>,
    /// The secret it dies with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundTo>,
    /// The account.
    pub serviceaccount: BoundTo,
}

/// A named object of one life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundTo {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// Why a token was not believed. The API answers 401 to each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RefusedToken {
    /// Not a token of this issuer; another authenticator may know it.
    #[error("invalid bearer token: {0}")]
    NotOurs(String),
    /// Signature or form is wrong.
    #[error("invalid bearer token, {0}")]
    Invalid(String),
    /// Its time is over.
    #[error("invalid bearer token, service account token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("invalid bearer token, service account token is not valid yet")]
    NotYet,
    /// It is for somebody else.
    #[error("invalid bearer token, token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// What the token says.
        found: Vec<String>,
        /// What was asked for.
        wanted: Vec<String>,
    },
}

/// A signing key with its id.
pub struct TokenKey {
    pair: KeyPair,
    /// Digest of the public key: upstream's key id.
    pub id: String,
}

impl TokenKey {
    /// A new key.
    pub fn create() -> Result<TokenKey, PkiError> {
        let pair =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| PkiError::TokenKey(e.to_string()))?;
        Ok(TokenKey::of(pair))
    }

    /// A key from its file's content, PKCS #8 PEM of an ECDSA P-256 key.
    pub fn from_pem(pem: &str) -> Result<TokenKey, PkiError> {
        let pair = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| PkiError::TokenKey(error.to_string()))?;
        Ok(TokenKey::of(pair))
    }

    /// The key, PEM, for its file.
    pub fn to_pem(&self) -> String {
        self.pair.serialize_pem()
    }

    fn of(pair: KeyPair) -> TokenKey {
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, rcgen::PublicKeyData::der_bytes(&pair)));
        TokenKey { pair, id }
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({}, key not shown)", self.id)
    }
}

/// The issuer's keys.
pub struct TokenKeys {
    issuer: String,
    signing: (String, EncodingKey),
    verifying: BTreeMap<String, (DecodingKey, Vec<u8>)>,
}

impl TokenKeys {
    /// The first key signs; all verify.
    pub fn new(issuer: &str, keys: &[TokenKey]) -> Result<TokenKeys, PkiError> {
        let signing = keys.first().ok_or_else(|| PkiError::TokenKey("the set is empty".into()))?;
        let verifying = keys.iter().map(|key| {
            let point = key.pair.public_key_raw().to_vec();
            (key.id.clone(), (DecodingKey::from_ec_der(&point), point))
        });
        Ok(TokenKeys {
            issuer: issuer.to_owned(),
            signing: (signing.id.clone(), EncodingKey::from_ec_der(&signing.pair.serialize_der())),
            verifying: verifying.collect(),
        })
    }

    /// Signs claims, after putting the issuer into them.
    pub fn sign(&self, mut claims: Claims) -> Result<String, PkiError> {
        claims.iss.clone_from(&self.issuer);
        let header = Header {
            alg: Algorithm::ES256,
            kid: Some(self.signing.0.clone()),
            typ: None,
            ..Header::default()
        };
        jsonwebtoken::encode(&header, &claims, &self.signing.1)
            .map_err(|error| PkiError::TokenKey(error.to_string()))
    }

    /// The claims of a token that is good at `now` for at least one of `audiences`.
    pub fn verify(&self, token: &str, audiences: &[String], now: i64) -> Result<Claims, RefusedToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| RefusedToken::NotOurs(e.to_string()))?;
        let key = header.kid.as_ref().and_then(|id| self.verifying.get(id));
        let (key, _) = key.ok_or_else(|| RefusedToken::NotOurs("no key of this cluster signed it".into()))?;
        let mut form = Validation::new(Algorithm::ES256);
        // Time and audience are judged below, by the time that was passed in.
        (form.validate_exp, form.validate_nbf, form.validate_aud) = (false, false, false);
        form.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, key, &form)
            .map_err(|error| RefusedToken::Invalid(error.to_string()))?
            .claims;
        if claims.iss != self.issuer {
            return Err(RefusedToken::NotOurs(format!("its issuer is {:?}", claims.iss)));
        }
        if now >= claims.exp + LEEWAY_SECONDS {
            return Err(RefusedToken::Expired);
        }
        if now < claims.nbf - LEEWAY_SECONDS {
            return Err(RefusedToken::NotYet);
        }
        if !claims.aud.iter().any(|audience| audiences.contains(audience)) {
            return Err(RefusedToken::Audience { found: claims.aud, wanted: audiences.to_vec() });
        }
        Ok(claims)
    }

    /// The issuer's public keys as a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> serde_json::Value {
        let keys = self.verifying.iter().map(|(id, (_, point))| {
            // An uncompressed point: 4, x, y.
            let (x, y) = point[1..].split_at(point.len() / 2);
            serde_json::json!({
                "use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256",
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            })
        });
        serde_json::json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKeys({}, {} keys)", self.issuer, self.verifying.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
    const NOW: i64 = 1_800_000_000;

    fn claims() -> Claims {
        Claims {
            aud: vec![ISSUER.into()],
            exp: NOW + 3600,
            iat: NOW,
            iss: String::new(),
            jti: Some("0b5a".into()),
            kubernetes: Kubernetes {
                namespace: "default".into(),
                pod: Some(BoundTo { name: "web".into(), uid: Some("1".into()) }),
                serviceaccount: BoundTo { name: "default".into(), uid: Some("2".into()) },
                ..Kubernetes::default()
            },
            nbf: NOW,
            sub: "system:serviceaccount:default:default".into(),
        }
    }

    #[test]
    fn believes_its_own_in_time_for_its_audience() {
        let audiences = [ISSUER.to_owned()];
        let (first, second) = (TokenKey::create().unwrap(), TokenKey::create().unwrap());
        let second = TokenKey::from_pem(&second.to_pem()).unwrap();
        let old = TokenKeys::new(ISSUER, &[TokenKey::from_pem(&first.to_pem()).unwrap()]).unwrap();
        let token = old.sign(claims()).unwrap();
        let rotated = TokenKeys::new(ISSUER, &[second, first]).unwrap();
        assert_eq!(
            rotated.verify(&token, &audiences, NOW).unwrap(),
            Claims { iss: ISSUER.into(), ..claims() }
        );

        let verify =
            |token: &str, audience: &str, now| rotated.verify(token, &[audience.into()], now).unwrap_err();
        assert_eq!(verify(&token, ISSUER, NOW + 3660), RefusedToken::Expired);
        assert_eq!(verify(&token, ISSUER, NOW - 61), RefusedToken::NotYet);
        assert!(matches!(verify(&token, "vault", NOW), RefusedToken::Audience { .. }));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", signature.chars().rev().collect::<String>());
        assert!(matches!(verify(&forged, ISSUER, NOW), RefusedToken::Invalid(_)));
        assert!(matches!(verify("a.b.c", ISSUER, NOW), RefusedToken::NotOurs(_)));
        let stranger =
            TokenKeys::new(ISSUER, &[TokenKey::create().unwrap()]).unwrap().sign(claims()).unwrap();
        assert!(matches!(verify(&stranger, ISSUER, NOW), RefusedToken::NotOurs(_)));
        let other = TokenKeys::new("https://other", &[TokenKey::create().unwrap()]).unwrap();
        assert!(matches!(other.verify(&token, &audiences, NOW), Err(RefusedToken::NotOurs(_))));
        assert_eq!(rotated.key_set()["keys"].as_array().unwrap().len(), 2);
    }
}
