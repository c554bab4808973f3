//! Requests and certificates that openssl has made, and what may be wrong with them.

use super::*;

/// A sound request, by a key on P-256.
pub const ECDSA: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIHqMIGSAgEAMDAxFzAVBgNVBAMMDnN5c3RlbTpub2RlOm4xMRUwEwYDVQQKDAxz
eXN0ZW06bm9kZXMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQsux9nKnHjWLlx
yVibiQnETQqEBEbK8uf4LntCD6YbpjyS0A5nLquaz40XcBlmpj+WRL5nMG//aIPp
ii1jej95oAAwCgYIKoZIzj0EAwIDRwAwRAIgbCHLQLoxSIiSgsu1d+Tr+0DiSO2n
Z3/07eDdS28gT6ICIGZtNrKMeXCaA5Uamd01X5XIiZ+EzrCzGorEGFOmZWZ5
-----END CERTIFICATE REQUEST-----
";
const ED25519: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIGvMGMCAQAwMDEXMBUGA1UEAwwOc3lzdGVtOm5vZGU6bjExFTATBgNVBAoMDHN5
c3RlbTpub2RlczAqMAUGAytlcAMhAJEySOitXWbO1oY1jzCZ2eY1+DLFxNZHLPpt
G1OJg2ddoAAwBQYDK2VwA0EA9xUG8LAS2/Qvcix42WyoblySl8e2lyGpnGypwh7M
BWj7E27nq/iM41OnZOqObDb3FoGhud6ITBCjtQzaIJZoCA==
-----END CERTIFICATE REQUEST-----
";
/// By an algorithm that is not known here.
const P521: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBTjCBsQIBADAMMQowCAYDVQQDDAF4MIGbMBAGByqGSM49AgEGBSuBBAAjA4GG
AAQBOU4301iZbOemKX+wweRk0rhlgihtO10a8oFg4VP/5u7h3JuxICbMNcmBAim8
84dimuAff/zDGa8FLyY4JNTVyvcBfHR4GtBSpAlTiFqoWtl7bCzxhJ9fMjmJ+K1m
V7F1qfE+X7ZxpXLaYuniZl3YpQyxE481AnoTKoulhCopHyfuBymgADAKBggqhkjO
PQQDBAOBiwAwgYcCQgFv/afNmwzLEWZjh6LBSbiuGp3ImtFQWXTe0aB5CXBg7Z2t
pBJalX9E0Qdja2mPvWKgMv6C3I9ZNlUw0nvc4Y8MWQJBGU6aePFtyPCwKRWNqRmn
UY0M4bFvMFDe5m7IuD1WocPhhrsj8x3FVHQKDoLT086PhPTj0USOPhzdhXakD8q4
vv0=
-----END CERTIFICATE REQUEST-----
";
/// A sound certificate.
pub const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcjCCARegAwIBAgIUbcSZ5YYdzmpAbmgO90Q6MtdrP54wCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI5MTExNTEyWhgPMjEyNjExMDUxMTE1MTJa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELLsfZypx
41i5cclYm4kJxE0KhARGyvLn+C57Qg+mG6Y8ktAOZy6rms+NF3AZZqY/lkS+ZzBv
/2iD6YotY3o/eaNTMFEwHQYDVR0OBBYEFJr/X7cwdgyJl/WVojfyQ3mwDZ2BMB8G
A1UdIwQYMBaAFJr/X7cwdgyJl/WVojfyQ3mwDZ2BMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSQAwRgIhAJ8UpqHhIQ10sHAxIBtrftABVxZMiebN5o73MTfF
gepHAiEA7eObfRqhaw/Ap1pcvd9W8QbHc0txFsvsz6jzTbe9XJY=
-----END CERTIFICATE-----
";

/// A block of these bytes.
fn block(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}

/// The bytes of a block.
fn der(pem: &str) -> Vec<u8> {
    blocks(pem).remove(0).der
}

/// Bytes with one bit of the last turned: the signature is at the end.
fn turned(mut der: Vec<u8>) -> Vec<u8> {
    *der.last_mut().unwrap() ^= 1;
    der
}

#[test]
fn requests_are_signed_by_the_key_that_they_are_for() {
    let check = |pem: &str, expect: Result<(), &str>| {
        assert_eq!(check_request(pem.as_bytes()), expect.map_err(str::to_owned), "{pem}");
    };
    let kind = "PEM block type must be CERTIFICATE REQUEST";
    for sound in [ECDSA, ED25519, P521] {
        check(sound, Ok(()));
    }
    check(&format!("text before\n{ECDSA}text behind"), Ok(()));
    check(&ECDSA.replace('\n', "\r\n"), Ok(()));
    check("", Err(kind));
    check("-----BEGIN CERTIFICATE REQUEST-----\n", Err(kind));
    check(&format!("{AUTHORITY}{ECDSA}"), Err(kind));
    check(&block(REQUEST, b"x"), Err("asn1: structure error: tags don't match"));
    check(&block(REQUEST, b""), Err("asn1: syntax error: sequence truncated"));
    let cut = &der(ECDSA)[..40];
    check(&block(REQUEST, cut), Err("asn1: structure error: malformed certificate request"));
    let more = [der(ECDSA), vec![0]].concat();
    check(&block(REQUEST, &more), Err("asn1: syntax error: trailing data"));
    check(&block(REQUEST, &turned(der(ECDSA))), Err("x509: ECDSA verification failure"));
    check(&block(REQUEST, &turned(der(ED25519))), Err("x509: Ed25519 verification failure"));
}

#[test]
fn what_is_issued_are_certificates_alone() {
    let check = |pem: &str, expect: Result<(), &str>| {
        assert_eq!(check_issued(pem.as_bytes()), expect.map_err(str::to_owned), "{pem}");
    };
    check(AUTHORITY, Ok(()));
    check(&format!("{AUTHORITY}{AUTHORITY}"), Ok(()));
    check("x", Err("must contain at least one CERTIFICATE PEM block"));
    check(
        &format!("{AUTHORITY}{}", block("PRIVATE KEY", b"x")),
        Err("only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\""),
    );
    let headed = AUTHORITY.replacen("-----\n", "-----\nA: b\n\n", 1);
    check(&headed, Err("no PEM block headers are permitted"));
    check(&block(CERTIFICATE, b"x"), Err("x509: malformed certificate"));
}

#[test]
fn a_bundle_has_an_authority_that_can_be_read() {
    let check = |pem: &str, expect: Result<(), &str>| {
        assert_eq!(check_authorities(pem.as_bytes()), expect.map_err(str::to_owned), "{pem}");
    };
    check(AUTHORITY, Ok(()));
    check(&format!("{}{AUTHORITY}", block(CERTIFICATE, b"x")), Ok(()));
    check("x", Err("unable to parse bytes as PEM block"));
    check(ECDSA, Err("no valid certificate authority data seen"));
    check(&block(CERTIFICATE, b"x"), Err("failed to parse certificate: x509: malformed certificate"));
}
