//! PEM, X.509 certificates and PKCS #10 requests inside objects: whether they are what they claim to be.
//!
//! Not who is trusted, nor for what: only that the bytes are sound, and that a request was signed by the key that it is for. Pure:
//! no clock is asked, so an expired certificate is sound.
//!
//! Of signatures by algorithms that are not known here nothing is said: they are the signer's question.
//!
//! Reference: RFC 7468, RFC 5280, RFC 2986; which bytes pass and what is said of the others, by the behaviour of upstream's libraries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::field::quote;

const CERTIFICATE: &str = "CERTIFICATE";
const REQUEST: &str = "CERTIFICATE REQUEST";

/// One sound block of a PEM text.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    kind: &'a str,
    has_headers: bool,
    der: Vec<u8>,
}

/// A certificate request, signed with its own key.
///
/// # Errors
/// What upstream says of it.
pub fn check_request(pem: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(pem);
    let Some(block) = blocks(&text).into_iter().next().filter(|block| block.kind == REQUEST) else {
        return Err("PEM block type must be CERTIFICATE REQUEST".into());
    };
    let (rest, request) =
        X509CertificationRequest::from_der(&block.der).map_err(|_| malformed(&block.der))?;
    if !rest.is_empty() {
        return Err("asn1: syntax error: trailing data".into());
    }
    match request.verify_signature() {
        Err(X509Error::SignatureVerificationError) => {
            let key = &request.certification_request_info.subject_pki.algorithm.algorithm;
            Err(match key.to_id_string().as_str() {
                "1.2.840.10045.2.1" => "x509: ECDSA verification failure",
                "1.3.101.112" => "x509: Ed25519 verification failure",
                _ => "crypto/rsa: verification error",
            }
            .into())
        }
        _ => Ok(()),
    }
}

/// What was issued: certificates, one after the other, and nothing else that PEM can hold.
///
/// # Errors
/// What upstream says of it.
pub fn check_issued(pem: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(pem);
    let found = blocks(&text);
    if found.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".into());
    }
    for block in &found {
        if block.kind != CERTIFICATE {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", quote(block.kind)));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".into());
        }
        certificate(&block.der)?;
    }
    Ok(())
}

/// A bundle of authorities: at least one certificate that can be read.
///
/// # Errors
/// What upstream says of it.
pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(pem);
    let found = blocks(&text);
    let mut certificates =
        found.iter().filter(|block| block.kind == CERTIFICATE && !block.has_headers).peekable();
    if found.is_empty() {
        return Err("unable to parse bytes as PEM block".into());
    }
    if certificates.peek().is_none() {
        return Err("no valid certificate authority data seen".into());
    }
    let mut first = None;
    for block in certificates {
        match certificate(&block.der) {
            Ok(()) => return Ok(()),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(format!("failed to parse certificate: {}", first.unwrap_or_default()))
}

fn certificate(der: &[u8]) -> Result<(), String> {
    match X509Certificate::from_der(der) {
        Ok(([], _)) => Ok(()),
        Ok(_) => Err("x509: trailing data".into()),
        Err(_) => Err("x509: malformed certificate".into()),
    }
}

/// How a request that is none is spoken of.
fn malformed(der: &[u8]) -> String {
    const SEQUENCE: u8 = 0x30;
    match der {
        [] => "asn1: syntax error: sequence truncated",
        [SEQUENCE, ..] => "asn1: structure error: malformed certificate request",
        _ => "asn1: structure error: tags don't match",
    }
    .into()
}

/// The sound blocks; what is none is passed over.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {kind}-----");
        // A block without an end is none, and another may begin within it.
        let mut inner = lines.clone();
        let (mut body, mut has_headers, mut is_closed) = (String::new(), false, false);
        for line in inner.by_ref() {
            if line == end {
                is_closed = true;
                break;
            }
            if line.starts_with("-----") {
                break;
            }
            if body.is_empty() && line.contains(':') {
                has_headers = true;
            } else {
                body.extend(line.split_ascii_whitespace());
            }
        }
        let der = STANDARD.decode(&body);
        if let (true, Ok(der)) = (is_closed, der) {
            found.push(Block { kind, has_headers, der });
            lines = inner;
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests;
