//! CertificateSigningRequests.

use serde_json::{Value, json};

use super::{created, expect, updated};

const GROUP: &str = "certificates.k8s.io";
const KIND: &str = "CertificateSigningRequest";
/// `-----BEGIN CERTIFICATE REQUEST-----`
const PEM: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0=";

fn request(signer: &str, usages: Value) -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"request": PEM, "signerName": signer, "usages": usages}})
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
