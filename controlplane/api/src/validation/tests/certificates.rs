//! CertificateSigningRequests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{created, expect, updated};
use crate::x509::tests::{AUTHORITY, ECDSA};

const GROUP: &str = "certificates.k8s.io";
const KIND: &str = "CertificateSigningRequest";

fn request(signer: &str, usages: Value) -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"request": STANDARD.encode(ECDSA), "signerName": signer, "usages": usages}})
}

#[test]
fn what_is_asked_for_is_named() {
    let usual = json!(["digital signature", "client auth"]);
    let mut short = request("kubernetes.io/kube-apiserver-client", usual.clone());
    short["spec"]["expirationSeconds"] = 599.into();
    let mut bytes = request("kubernetes.io/kube-apiserver-client", usual.clone());
    bytes["spec"]["request"] = "eA==".into();
    let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    for (what, object, wanted) in [
        ("fine", request("kubernetes.io/kubelet-serving", usual.clone()), vec![]),
        (
            "no PEM",
            bytes,
            vec!["spec.request: Invalid value: \"eA==\": PEM block type must be CERTIFICATE REQUEST".to_owned()],
        ),
        ("no signer", request("", usual.clone()), vec!["spec.signerName: Required value".into()]),
        (
            "bare signer",
            request("signer", usual.clone()),
            vec![format!("spec.signerName: Invalid value: \"signer\": {form}")],
        ),
        (
            "no domain",
            request("signer/x", usual.clone()),
            vec!["spec.signerName: Invalid value: \"signer\": should be a domain with at least two segments separated by dots".into()],
        ),
        (
            "odd parts",
            request("a.B/c.d_e", usual.clone()),
            vec![
                "spec.signerName: Invalid value: \"a.B\": validating label \"B\": a lowercase RFC 1123 label...".into(),
                "spec.signerName: Invalid value: \"c.d_e\": validating label \"d_e\": a lowercase RFC 1123 subdomain...".into(),
            ],
        ),
        (
            "parts of parts",
            request("a.b/c/d", usual.clone()),
            vec![format!("spec.signerName: Invalid value: \"a.b/c/d\": {form}")],
        ),
        (
            "long",
            request(&format!("a.b/{}", vec!["c"; 300].join(".")), usual.clone()),
            vec!["spec.signerName: Too long: may not be more than 571 bytes".into()],
        ),
        (
            "short",
            short,
            vec!["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)".into()],
        ),
        (
            "usages twice",
            request("a.b/c", json!(["client auth", "client auth"])),
            vec!["spec.usages[1]: Duplicate value: \"client auth\"".into()],
        ),
        ("no usages", request("a.b/c", json!([])), vec!["spec.usages: Required value".into()]),
    ] {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        expect(what, &created(GROUP, KIND, object), &wanted);
    }
}

#[test]
fn what_was_decided_stays() {
    let decided = |of: &[&str]| {
        let mut object = request("a.b/c", json!(["client auth"]));
        let conditions: Vec<Value> = of.iter().map(|of| json!({"type": of, "status": "True"})).collect();
        object["status"]["conditions"] = conditions.into();
        object
    };
    for (what, before, after, wanted) in [
        ("approved", &[][..], &["Approved"][..], &[][..]),
        (
            "taken back",
            &["Approved"],
            &[],
            &["status.conditions: Forbidden: updates may not remove a condition of type \"Approved\""],
        ),
        (
            "both",
            &["Approved"],
            &["Approved", "Denied"],
            &[
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive",
            ],
        ),
    ] {
        expect(what, &updated(GROUP, KIND, "approval", decided(after), decided(before)), wanted);
    }
}

#[test]
fn what_is_issued_are_certificates() {
    let issued = |bytes: &str| {
        let mut object = request("a.b/c", json!(["client auth"]));
        object["status"]["certificate"] = STANDARD.encode(bytes).into();
        object
    };
    let path = "status.certificate: Invalid value: \"<certificate data>\"";
    for (bytes, wanted) in [
        (AUTHORITY, None),
        (
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            Some("x509: malformed certificate"),
        ),
        ("x", Some("must contain at least one CERTIFICATE PEM block")),
        (
            "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
            Some("only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\""),
        ),
    ] {
        let wanted: Vec<String> = wanted.into_iter().map(|why| format!("{path}: {why}")).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let old = request("a.b/c", json!(["client auth"]));
        expect(bytes, &updated(GROUP, KIND, "status", issued(bytes), old), &wanted);
    }
}
