//! Whom a registry host must prove to be: the system's authorities, those of its hosts file, or nobody.
//!
//! Reference: RFC 8446; rustls with aws-lc-rs as the only provider.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serve::Anybody;

use super::hosts::Trust;

/// Where distributions keep their bundle of authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why no TLS connection can be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// How to talk TLS to a host. Reads files; call it off the async threads or rarely.
///
/// # Errors
/// When a file that the hosts file names cannot be used.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if trust.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(authorities(&trust.authorities)?)
    };
    let config = match &trust.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let wrong = |e: rustls::pki_types::pem::Error| file(key, &e);
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).map_err(wrong)?)?
        }
    };
    Ok(config)
}

fn authorities(own: &[PathBuf]) -> Result<RootCertStore, TrustError> {
    let mut store = RootCertStore::empty();
    let from_environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let bundle =
        from_environment.into_iter().chain(BUNDLES.iter().map(PathBuf::from)).find(|path| path.exists());
    if let Some(bundle) = bundle {
        // A system's bundle may hold certificates that rustls does not like; the others still count.
        let (_, ignored) = store.add_parsable_certificates(certificates(&bundle)?);
        if ignored > 0 {
            tracing::debug!(bundle = %bundle.display(), ignored, "authorities left out");
        }
    }
    for path in own {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|e| file(path, &e))?;
        }
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let all = CertificateDer::pem_file_iter(path).and_then(|list| list.collect::<Result<Vec<_>, _>>());
    let all = all.map_err(|e| file(path, &e))?;
    if all.is_empty() {
        return Err(TrustError::File { path: path.to_owned(), reason: "holds no certificate".to_owned() });
    }
    Ok(all)
}

fn file(path: &Path, reason: &impl ToString) -> TrustError {
    TrustError::File { path: path.to_owned(), reason: reason.to_string() }
}
