//! CertificateSigningRequests: their life, their approval and their status, each through its own door.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::{Authority, SigningRequest};
use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::Cluster;

pub(super) const ALL: &[Behaviour] = &[("a request for a certificate lives, is approved and told of", lives)];

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Tested", "message": "m"})
}

fn lives(cluster: &Cluster, namespace: &str) {
    let asked = SigningRequest::create("somebody", None, &[]).expect("a request");
    let request = |name: &str| {
        json!({"metadata": {"name": format!("{namespace}-{name}"), "labels": {"of": namespace}}, "spec": {
            "request": STANDARD.encode(asked.pem()), "signerName": "example.test/nobody", "expirationSeconds": 3600,
            "usages": ["client auth"]}})
    };
    for name in ["a", "b", "c"] {
        cluster.create(REQUESTS, &request(name));
    }
    let selected = format!("{REQUESTS}?labelSelector=of%3D{namespace}");
    let list = cluster.get(&selected);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(list["items"][0]["spec"]["username"], "kubernetes-admin");
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let mut watch = cluster.admin.watch(&format!("{selected}&watch=true&resourceVersion={revision}"));

    let one = format!("{REQUESTS}/{namespace}-a");
    cluster.merge(&one, &json!({"metadata": {"annotations": {"patched": "yes"}}}));
    let mut fresh = cluster.get(&one);
    fresh["metadata"]["annotations"]["updated"] = "yes".into();
    // Neither approval nor status comes in through the front door.
    fresh["status"]["conditions"] = json!([condition("Approved")]);
    assert!(cluster.put(&one, &fresh)["status"]["conditions"].is_null());

    let approval = format!("{one}/approval");
    let mut shown = cluster.get(&approval);
    shown["status"]["conditions"] = json!([condition("Approved")]);
    assert_eq!(cluster.put(&approval, &shown)["status"]["conditions"][0]["type"], "Approved");
    let odd = json!({"status": {"conditions": [condition("Approved"), condition("ApprovalPatched")]}});
    assert_eq!(cluster.merge(&approval, &odd)["status"]["conditions"][1]["type"], "ApprovalPatched");
    let both = json!({"status": {"conditions": [condition("Approved"), condition("Denied")]}});
    assert_eq!(cluster.admin.patch(&approval, "merge", &both).code, 422);

    let status = format!("{one}/status");
    assert_eq!(cluster.get(&status)["metadata"]["name"], format!("{namespace}-a"));
    let issued = Authority::create("nobody", jiff::Timestamp::now().as_second()).expect("a certificate");
    let signed = cluster
        .merge(&status, &json!({"status": {"certificate": STANDARD.encode(issued.certificate_pem())}}));
    assert!(signed["status"]["certificate"].is_string());
    let failed = json!({"status": {"conditions": [condition("Approved"), condition("ApprovalPatched"), condition("StatusPatched")]}});
    assert_eq!(cluster.merge(&status, &failed)["status"]["conditions"].as_array().map(Vec::len), Some(3));

    cluster.delete(&one);
    assert!(cluster.is_gone(&one));
    let mut seen = Vec::new();
    while seen.last().is_none_or(|kind| kind != "DELETED") {
        seen.push(watch.next_named().0);
    }
    assert!(seen.len() >= 6 && seen[..seen.len() - 1].iter().all(|kind| kind == "MODIFIED"), "{seen:?}");
    cluster.delete(&selected);
    assert!(cluster.items(&selected).is_empty());
}
