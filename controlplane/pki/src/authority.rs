//! Certificate authorities and what they issue: ECDSA P-256.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::PkiError;

/// How long an authority is good for: ten years.
const AUTHORITY_SECONDS: i64 = 10 * 365 * 86_400;
/// Certificates are good from a little before now, for clocks that lag.
const BACKDATE_SECONDS: i64 = 300;

/// A certificate authority with its key.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key.
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    key_pem: String,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Profile {
    /// CN: the user's name to Kubernetes.
    pub common_name: String,
    /// O: the user's group.
    pub organization: Option<String>,
    /// Names and addresses that a server answers to.
    pub names: Vec<String>,
    /// What it may be used for.
    pub usage: Usage,
    /// From `now` on.
    pub lifetime_seconds: i64,
}

/// Extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS client.
    Client,
    /// TLS server.
    Server,
    /// Both: peers of the store.
    Both,
}

impl Authority {
    /// A new authority, self-signed.
    pub fn create(common_name: &str, now: i64) -> Result<Authority, PkiError> {
        let failed = failed(common_name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, None);
        params.not_before = time_of(now - BACKDATE_SECONDS);
        params.not_after = time_of(now + AUTHORITY_SECONDS);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(&failed)?;
        Ok(Authority { certificate_pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// An authority from its files' content.
    pub fn from_pem(what: &str, certificate_pem: &str, key_pem: &str) -> Result<Authority, PkiError> {
        let failed = failed(what);
        let key = KeyPair::from_pem(key_pem).map_err(&failed)?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(&failed)?;
        Ok(Authority { certificate_pem: certificate_pem.to_owned(), issuer })
    }

    /// The authority's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key, PEM (PKCS #8), for its file.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate with a new key.
    pub fn issue(&self, profile: &Profile, now: i64) -> Result<Certificate, PkiError> {
        let failed = failed(&profile.common_name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
        let mut params = CertificateParams::default();
        fill(&mut params, profile, now).map_err(&failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(&failed)?;
        Ok(Certificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Signs somebody else's key: name and usage come from `profile`, only the key from the request.
    pub fn sign_request(&self, request_pem: &str, profile: &Profile, now: i64) -> Result<String, PkiError> {
        let failed = failed(&profile.common_name);
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).map_err(&failed)?;
        request.params = CertificateParams::default();
        fill(&mut request.params, profile, now).map_err(&failed)?;
        Ok(request.signed_by(&self.issuer).map_err(&failed)?.pem())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(key not shown)")
    }
}

impl Certificate {
    /// A certificate and key from their files' content.
    pub fn from_pem(what: &str, certificate_pem: String, key_pem: String) -> Result<Certificate, PkiError> {
        let certificate = Certificate { certificate_pem, key_pem };
        certificate.chain(what)?;
        certificate.key(what)?;
        Ok(certificate)
    }

    /// The key, PEM, for its file.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Begin and end of its life in seconds since 1970.
    pub fn validity(&self, what: &str) -> Result<(i64, i64), PkiError> {
        let chain = self.chain(what)?;
        let unreadable = || PkiError::Missing { what: what.to_owned(), wanted: "CERTIFICATE" };
        let (_, parsed) = X509Certificate::from_der(&chain[0]).map_err(|_| unreadable())?;
        let validity = parsed.validity();
        Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
    }

    /// CN.
    pub fn common_name(&self, what: &str) -> Result<String, PkiError> {
        let chain = self.chain(what)?;
        let unreadable = || PkiError::Missing { what: what.to_owned(), wanted: "CERTIFICATE" };
        let (_, parsed) = X509Certificate::from_der(&chain[0]).map_err(|_| unreadable())?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(name.unwrap_or_default().to_owned())
    }

    /// Whether a server may answer to all of `names` with it.
    pub fn names_all(&self, what: &str, names: &[String]) -> bool {
        let Ok(chain) = self.chain(what) else { return false };
        crate::folder::alternative_names(&chain[0])
            .is_some_and(|found| names.iter().all(|name| found.contains(name)))
    }

    /// Certificate and key in one text, for a file that is replaced as a whole.
    pub fn pair_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.key_pem)
    }

    /// The certificates, for TLS.
    pub fn chain(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, PkiError> {
        let missing = || PkiError::Missing { what: what.to_owned(), wanted: "CERTIFICATE" };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| missing())?;
        if chain.is_empty() { Err(missing()) } else { Ok(chain) }
    }

    /// The key, for TLS.
    pub fn key(&self, what: &str) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|_| PkiError::Missing { what: what.to_owned(), wanted: "PRIVATE KEY" })
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(key not shown)")
    }
}

fn fill(params: &mut CertificateParams, profile: &Profile, now: i64) -> Result<(), rcgen::Error> {
    params.distinguished_name = name(&profile.common_name, profile.organization.as_deref());
    params.not_before = time_of(now - BACKDATE_SECONDS);
    params.not_after = time_of(now + profile.lifetime_seconds);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match profile.usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    add_names(params, &profile.names)
}

fn add_names(params: &mut CertificateParams, names: &[String]) -> Result<(), rcgen::Error> {
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    Ok(())
}

/// What a request says: a subject and the names of a server.
pub(crate) fn request_params(
    common_name: &str,
    organization: Option<&str>,
    names: &[String],
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name, organization);
    add_names(&mut params, names)?;
    Ok(params)
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn time_of(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn failed(what: &str) -> impl Fn(rcgen::Error) -> PkiError {
    let what = what.to_owned();
    move |source| PkiError::Certificate { what: what.clone(), source }
}
