//! Certificate requests (PKCS #10): made where the key is and stays, read where they are decided.
//!
//! Reading judges nothing: it says what is asked for. Whether the request's own signature is good is found when it is signed.
//!
//! Reference: RFC 2986.

use std::net::IpAddr;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::authority::request_params;
use crate::{Certificate, PkiError};

/// A request with the key that it is for.
pub struct SigningRequest {
    pem: String,
    key_pem: String,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every CN; there should be one.
    pub common_names: Vec<String>,
    /// Every O.
    pub organizations: Vec<String>,
    /// Names that a server answers to.
    pub dns_names: Vec<String>,
    /// Addresses that a server answers to.
    pub addresses: Vec<IpAddr>,
    /// Alternative names of other kinds: e-mail addresses, URIs.
    pub others: usize,
}

impl SigningRequest {
    /// A request for a new key.
    pub fn create(
        common_name: &str,
        organization: Option<&str>,
        names: &[String],
    ) -> Result<SigningRequest, PkiError> {
        let failed = |source| PkiError::Certificate { what: format!("request for {common_name}"), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = request_params(common_name, organization, names).map_err(failed)?;
        let request = params.serialize_request(&key).map_err(failed)?;
        Ok(SigningRequest { pem: request.pem().map_err(failed)?, key_pem: key.serialize_pem() })
    }

    /// The request, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key with the certificate that was issued for it. The two must belong together.
    pub fn answered(self, what: &str, certificate_pem: &str) -> Result<Certificate, PkiError> {
        Certificate::from_pem(what, certificate_pem.to_owned(), self.key_pem)
    }
}

impl std::fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningRequest(key not shown)")
    }
}

impl Asked {
    /// Reads a request.
    pub fn read(pem: &str) -> Result<Asked, PkiError> {
        let missing = || PkiError::Missing { what: "the request".to_owned(), wanted: "CERTIFICATE REQUEST" };
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| missing())?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| missing())?;
        let subject = &request.certification_request_info.subject;
        let texts = |attributes: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
            attributes.filter_map(|attribute| attribute.as_str().ok().map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut asked = Asked {
            common_names: texts(&mut subject.iter_common_name()),
            organizations: texts(&mut subject.iter_organization()),
            ..Asked::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().for_each(|name| asked.add(name));
            }
        }
        Ok(asked)
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                    (Ok(bytes), _) => self.addresses.push(bytes.into()),
                    (_, Ok(bytes)) => self.addresses.push(bytes.into()),
                    _ => self.others += 1,
                }
            }
            _ => self.others += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, ClientTrust, Profile, Usage};

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn what_is_asked_for_is_read_back_and_signed() {
        let names = ["n1".to_owned(), "192.0.2.7".to_owned(), "2001:db8::7".to_owned()];
        let request = SigningRequest::create("system:node:n1", Some("system:nodes"), &names).unwrap();
        let asked = Asked::read(request.pem()).unwrap();
        assert_eq!(asked.common_names, ["system:node:n1"]);
        assert_eq!(asked.organizations, ["system:nodes"]);
        assert_eq!(asked.dns_names, ["n1"]);
        assert_eq!(asked.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
        assert_eq!(asked.others, 0);
        let authority = Authority::create("ca", NOW).unwrap();
        let profile = Profile {
            common_name: "system:node:n1".into(),
            organization: Some("system:nodes".into()),
            names: vec![],
            usage: Usage::Client,
            lifetime_seconds: 3600,
        };
        let signed = authority.sign_request(request.pem(), &profile, NOW).unwrap();
        let pair = request.answered("client", &signed).unwrap();
        let trust = ClientTrust::from_bundle("ca", authority.certificate_pem()).unwrap();
        let identity = trust.identify(&pair.chain("client").unwrap(), NOW).unwrap();
        assert_eq!(identity.user, "system:node:n1");
    }

    #[test]
    fn what_is_no_request_says_so() {
        for text in
            ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\neA==\n-----END CERTIFICATE REQUEST-----\n"]
        {
            let error = Asked::read(text).unwrap_err().to_string();
            assert_eq!(error, "the request holds no CERTIFICATE REQUEST", "{text}");
        }
    }
}
