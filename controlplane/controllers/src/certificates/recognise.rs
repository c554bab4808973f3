//! Which requests are those of nodes. Pure.

use std::net::IpAddr;

use base64::Engine as _;
use pki::{Asked, Usage};
use serde_json::Value;

pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// For the agent, proxy and DNS of a joined node.
pub(super) const NODE_PARTS: &str = "keelson.dev/node-parts";
const NODES: &str = "system:nodes";
const PARTS: &str = "system:keelson:node-parts";
const PREFIX: &str = "system:node:";

/// The bytes of a request, read.
pub(super) fn asked(request: &Value) -> Option<(String, Asked)> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(request["spec"]["request"].as_str().unwrap_or_default())
        .ok()?;
    let pem = String::from_utf8(bytes).ok()?;
    let asked = Asked::read(&pem).ok()?;
    Some((pem, asked))
}

/// What a signer of ours makes: for whom, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub common_name: String,
    pub organization: Option<String>,
    pub names: Vec<String>,
    pub usage: Usage,
}

/// What is to be signed; why it is not, for a signer of ours; nothing for somebody else's.
pub(super) fn wanted(request: &Value) -> Option<Result<Wanted, String>> {
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING, NODE_PARTS].contains(&signer) {
        return None;
    }
    let Some((_, asked)) = asked(request) else { return Some(Err("the request cannot be read".into())) };
    Some(judged(request, signer, &asked))
}

fn judged(request: &Value, signer: &str, asked: &Asked) -> Result<Wanted, String> {
    let [common_name] = asked.common_names.as_slice() else {
        return Err("subject must have one common name".into());
    };
    let usages: Vec<&str> =
        request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let serves = signer == KUBELET_SERVING;
    let (purpose, usage) =
        if serves { ("server auth", Usage::Server) } else { ("client auth", Usage::Client) };
    let allowed = |usage: &&str| [purpose, "digital signature", "key encipherment"].contains(usage);
    if !usages.contains(&purpose) || !usages.iter().all(allowed) {
        return Err(format!("usages did not match [digital signature, {purpose}]"));
    }
    let organization = match (signer, asked.organizations.as_slice()) {
        (CLIENT, []) => None,
        (CLIENT, [one]) => Some(one.clone()),
        (CLIENT, _) => return Err("subject has more than one organization: not signed here".into()),
        (NODE_PARTS, [one]) if one == PARTS => Some(one.clone()),
        (NODE_PARTS, _) => return Err(format!("subject organization is not {PARTS}")),
        (_, [one]) if one == NODES => Some(one.clone()),
        _ => return Err(format!("subject organization is not {NODES}")),
    };
    if signer != CLIENT && common_name.strip_prefix(PREFIX).is_none_or(str::is_empty) {
        return Err(format!("subject common name does not begin with {PREFIX}"));
    }
    let names: Vec<String> =
        asked.dns_names.iter().cloned().chain(asked.addresses.iter().map(IpAddr::to_string)).collect();
    match (serves, names.is_empty(), asked.others) {
        (_, _, others) if others > 0 => Err("email and URI subject alternative names are not allowed".into()),
        (true, true, _) => Err("at least one DNS or IP subject alternative name is required".into()),
        (false, false, _) => Err("DNS and IP subject alternative names are not allowed".into()),
        _ => Ok(Wanted { common_name: common_name.clone(), organization, names, usage }),
    }
}

/// The name of the node that a request is about.
pub(super) fn node(wanted: &Wanted) -> Option<&str> {
    wanted.common_name.strip_prefix(PREFIX)
}

/// Whether a node asks about itself.
pub(super) fn is_own(request: &Value, wanted: &Wanted) -> bool {
    let groups = &request["spec"]["groups"];
    let is_node = groups.as_array().is_some_and(|groups| groups.iter().any(|group| group == NODES));
    is_node && request["spec"]["username"] == wanted.common_name.as_str()
}

/// The right by which a request of a node is approved; nothing where a person decides, or it is decided.
pub(super) fn permission(request: &Value) -> Option<&'static str> {
    if super::plan::is_decided(request) {
        return None;
    }
    let wanted = wanted(request)?.ok()?;
    let own = is_own(request, &wanted);
    match request["spec"]["signerName"].as_str()? {
        KUBELET_CLIENT if !own => Some("nodeclient"),
        KUBELET_CLIENT | KUBELET_SERVING | NODE_PARTS if own => Some("selfnodeclient"),
        _ => None,
    }
}
