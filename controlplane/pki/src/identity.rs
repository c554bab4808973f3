//! Who a client certificate says its holder is, and whether to believe it.
//!
//! The TLS handshake only proves that the peer holds the key; this decides, so that an expired or foreign
//! certificate is answered with 401 and a sentence instead of a broken connection.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;

/// A user as Kubernetes sees one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// CN.
    pub user: String,
    /// Every O.
    pub groups: Vec<String>,
    /// Seconds since 1970.
    pub not_after: i64,
    /// `X509SHA256=` and the certificate's digest: upstream's credential id.
    pub credential_id: String,
}

/// Why a certificate was not believed. The API answers 401 to each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RefusedCertificate {
    /// The chain does not end in the bundle, or it is expired or not for clients.
    #[error("x509: {0}")]
    NotTrusted(String),
    /// The certificate cannot be read.
    #[error("x509: malformed certificate: {0}")]
    Malformed(String),
    /// The certificate names nobody.
    #[error("x509: subject has no common name")]
    NoName,
}

/// The authorities whose client certificates are believed.
#[derive(Clone, Debug)]
pub struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientTrust {
    /// Trusts every authority in a PEM bundle.
    pub fn from_bundle(what: &str, bundle_pem: &str) -> Result<ClientTrust, PkiError> {
        let missing = || PkiError::Missing { what: what.to_owned(), wanted: "CERTIFICATE" };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle_pem.as_bytes()) {
            roots.add(certificate.map_err(|_| missing())?).map_err(|_| missing())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| missing())?;
        Ok(ClientTrust { verifier })
    }

    /// The identity in a chain, leaf first, at a time in seconds since 1970.
    pub fn identify(&self, chain: &[CertificateDer<'_>], now: i64) -> Result<Identity, RefusedCertificate> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(RefusedCertificate::Malformed("no certificate".into()));
        };
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.max(0).unsigned_abs()));
        self.verifier
            .verify_client_cert(leaf, intermediates, at)
            .map_err(|error| RefusedCertificate::NotTrusted(error.to_string()))?;
        read(leaf)
    }
}

/// Reads the names off a certificate without judging it.
fn read(leaf: &CertificateDer<'_>) -> Result<Identity, RefusedCertificate> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|error| RefusedCertificate::Malformed(error.to_string()))?;
    let texts = |attributes: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
        attributes.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned)).collect::<Vec<_>>()
    };
    let user = texts(&mut parsed.subject().iter_common_name()).into_iter().next();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
    Ok(Identity {
        user: user.filter(|user| !user.is_empty()).ok_or(RefusedCertificate::NoName)?,
        groups: texts(&mut parsed.subject().iter_organization()),
        not_after: parsed.validity().not_after.timestamp(),
        credential_id: format!("X509SHA256={}", hex::encode(digest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Profile, Usage};

    const NOW: i64 = 1_800_000_000;

    fn profile(usage: Usage) -> Profile {
        Profile {
            common_name: "jane".into(),
            organization: Some("system:masters".into()),
            names: vec![],
            usage,
            lifetime_seconds: 3600,
        }
    }

    fn trust(authorities: &[&Authority]) -> ClientTrust {
        let bundle: String = authorities.iter().map(|authority| authority.certificate_pem()).collect();
        ClientTrust::from_bundle("bundle", &bundle).unwrap()
    }

    #[test]
    fn believes_its_own_in_time_and_nobody_else() {
        let (ours, theirs) =
            (Authority::create("ours", NOW).unwrap(), Authority::create("ours", NOW).unwrap());
        let good = ours.issue(&profile(Usage::Client), NOW).unwrap().chain("good").unwrap();
        let foreign = theirs.issue(&profile(Usage::Client), NOW).unwrap().chain("foreign").unwrap();
        let server = ours.issue(&profile(Usage::Server), NOW).unwrap().chain("server").unwrap();

        let identity = trust(&[&ours]).identify(&good, NOW).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.groups.as_slice()),
            ("jane", &["system:masters".to_owned()][..])
        );
        assert_eq!(identity.not_after, NOW + 3600);
        for (what, chain, now) in [
            ("foreign", &foreign, NOW),
            ("for servers", &server, NOW),
            ("expired", &good, NOW + 3601),
            ("not yet", &good, NOW - 301),
        ] {
            let refused = trust(&[&ours]).identify(chain, now).unwrap_err();
            assert!(matches!(refused, RefusedCertificate::NotTrusted(_)), "{what}: {refused}");
        }
        let both = trust(&[&ours, &theirs]);
        assert!(both.identify(&foreign, NOW).is_ok(), "the next authority is trusted beside the last one");
        assert!(matches!(both.identify(&[], NOW), Err(RefusedCertificate::Malformed(_))));
    }
}
