//! Machines that join, nodes that renew, and those who try more.

use base64::Engine as _;
use client::Resource;
use pki::{ClientTrust, SigningRequest};

use super::*;

const NOW: i64 = 1_800_000_000;
const MADE: &str = "2027-01-15T08:00:00Z";

/// Who asks, of which signer, for whom, with which names.
fn request(user: &str, groups: &[&str], signer: &str, subject: (&str, &str), names: &[&str]) -> Value {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = SigningRequest::create(subject.0, Some(subject.1), &names).unwrap();
    let purpose = if signer == KUBELET_SERVING { "server auth" } else { "client auth" };
    json!({
        "metadata": {"name": "r", "creationTimestamp": MADE},
        "spec": {"request": base64::engine::general_purpose::STANDARD.encode(made.pem()), "signerName": signer,
            "usages": ["digital signature", purpose], "username": user, "groups": groups},
    })
}

fn joins(node: &str) -> Value {
    let subject = format!("system:node:{node}");
    let groups = ["system:bootstrappers"];
    request("system:bootstrap:abcdef", &groups, recognise::KUBELET_CLIENT, (&subject, "system:nodes"), &[])
}

fn of_node(signer: &str, group: &str, names: &[&str]) -> Value {
    request("system:node:n1", &["system:nodes"], signer, ("system:node:n1", group), names)
}

fn node(name: &str, address: &str) -> Arc<Object> {
    let value = json!({"metadata": {"name": name, "uid": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
    Arc::new(Object::of(&Resource::NODES, value))
}

#[track_caller]
fn check(request: &Value, allowed: Option<bool>, expect: &str) -> Step {
    let authority = Authority::create("ca", NOW).unwrap();
    let nodes = [node("n1", "192.0.2.7"), node("n2", "192.0.2.8")];
    let api = ["192.0.2.1".parse().unwrap(), "10.96.0.1".parse().unwrap()];
    let step = plan(request, &Facts { nodes: &nodes, api: &api, allowed, now: NOW }, &authority);
    let shown = match &step {
        Step::Wait(_) => "wait".to_owned(),
        Step::Delete => "delete".to_owned(),
        Step::Decide(condition) | Step::Fail(condition) => {
            format!("{} {}", condition["type"].as_str().unwrap(), condition["reason"].as_str().unwrap())
        }
        Step::Issue(_) => "issue".to_owned(),
    };
    assert_eq!(shown, expect);
    step
}

#[test]
fn who_may_join_does_unless_the_name_is_taken() {
    assert_eq!(recognise::permission(&joins("n3")), Some("nodeclient"));
    check(&joins("n3"), Some(true), "Approved AutoApproved");
    check(&joins("n3"), Some(false), "wait");
    check(&joins("n3"), None, "wait");
    check(&joins("n2"), Some(true), "Denied NodeExists");
    check(&joins("kubernetes.default"), Some(true), "Denied NameReserved");
    let masters = request(
        "system:bootstrap:a",
        &[],
        recognise::KUBELET_CLIENT,
        ("system:node:n3", "system:masters"),
        &[],
    );
    assert_eq!(recognise::permission(&masters), None, "not a node's request");
    check(&masters, None, "wait");
}

#[test]
fn a_node_asks_about_itself_alone() {
    let parts = "system:keelson:node-parts";
    for (signer, group, names) in [
        (recognise::KUBELET_CLIENT, "system:nodes", &[][..]),
        (recognise::NODE_PARTS, parts, &[]),
        (KUBELET_SERVING, "system:nodes", &["n1", "192.0.2.7", "198.51.100.9"]),
    ] {
        let own = of_node(signer, group, names);
        assert_eq!(recognise::permission(&own), Some("selfnodeclient"), "{signer}");
        check(&own, Some(true), "Approved AutoApproved");
    }
    for foreign in ["n2", "192.0.2.8", "192.0.2.1", "10.96.0.1", "127.0.0.1", "kubernetes"] {
        check(&of_node(KUBELET_SERVING, "system:nodes", &["n1", foreign]), Some(true), "Denied ForeignName");
    }
    // Another node's certificate is like a machine that joins: the name is taken.
    let other = request(
        "system:node:n1",
        &["system:nodes"],
        recognise::KUBELET_CLIENT,
        ("system:node:n2", "system:nodes"),
        &[],
    );
    assert_eq!(recognise::permission(&other), Some("nodeclient"));
    check(&other, Some(true), "Denied NodeExists");
    let serving = request(
        "system:node:n1",
        &["system:nodes"],
        KUBELET_SERVING,
        ("system:node:n2", "system:nodes"),
        &["n2"],
    );
    assert_eq!(recognise::permission(&serving), None);
}

#[test]
fn what_is_approved_is_signed_once() {
    let mut approved = joins("n3");
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    let Step::Issue(certificate) = check(&approved, None, "issue") else { panic!() };
    approved["status"]["certificate"] = certificate.into();
    check(&approved, None, "wait");
    let mut wrong = request("jane", &[], recognise::KUBELET_CLIENT, ("jane", "system:nodes"), &[]);
    wrong["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    check(&wrong, None, "Failed SignerValidationFailure");
    let mut theirs = request("jane", &[], "example.com/own", ("jane", "x"), &[]);
    theirs["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    check(&theirs, None, "wait");
}

#[test]
fn what_was_asked_for_is_what_is_signed() {
    let authority = Authority::create("ca", NOW).unwrap();
    let mut approved = joins("n3");
    approved["spec"]["expirationSeconds"] = 1200.into();
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    let facts = Facts { nodes: &[], api: &[], allowed: None, now: NOW };
    let Step::Issue(certificate) = plan(&approved, &facts, &authority) else { panic!() };
    let trust = ClientTrust::from_bundle("ca", authority.certificate_pem()).unwrap();
    use rustls_pki_types::pem::PemObject as _;
    let chain = [rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let identity = trust.identify(&chain, NOW).unwrap();
    assert_eq!(
        (identity.user.as_str(), identity.groups),
        ("system:node:n3", vec!["system:nodes".to_owned()])
    );
    assert_eq!(identity.not_after, NOW + 1200);
}

#[test]
fn requests_do_not_stay() {
    let mut old = joins("n3");
    old["metadata"]["creationTimestamp"] = "2027-01-14T07:00:00Z".into();
    check(&old, Some(true), "delete");
    let mut denied = joins("n3");
    denied["status"]["conditions"] = json!([{"type": "Denied", "status": "True"}]);
    check(&denied, None, "wait");
    denied["metadata"]["creationTimestamp"] = "2027-01-15T06:59:59Z".into();
    check(&denied, None, "delete");
}
