//! What policies say of one pod talking to another, in words; from the objects of the API alone.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use client::{Client, Resource};
use datapath::Direction;
use serde_json::{Value, json};

use super::cluster::{Class, Cluster, Pod, labels};
use super::evaluate::{End, Outcome, judge};
use super::rule::{Policy, items, protocol_name, protocol_number};

/// Both halves of the way, and what comes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub allowed: bool,
    pub halves: Vec<Half>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// `egress of default/client`
    pub what: String,
    pub allowed: bool,
    /// Policies that select the pod, by namespace and name.
    pub selecting: Vec<String>,
    pub why: String,
}

/// One end as it was asked for.
struct Found {
    name: String,
    addresses: Vec<IpAddr>,
    class: Option<Arc<Class>>,
}

/// `pod` and `peer` are `[NAMESPACE/]NAME`, the peer also an address; `port` is `80` or `53/UDP`, or the name that the peer
/// gives it.
pub async fn explain(client: &Client, pod: &str, peer: &str, port: &str) -> anyhow::Result<Explanation> {
    let everything = |resource| async move { client.list(&resource, "", &[]).await };
    let policies = everything(Resource::NETWORK_POLICIES).await.context("reading policies")?;
    let namespaces = everything(Resource::NAMESPACES).await.context("reading namespaces")?;
    let pods = everything(Resource::PODS).await.context("reading pods")?;
    let cluster = Cluster {
        policies: items(&policies["items"]).map(Policy::read).collect(),
        namespaces: items(&namespaces["items"])
            .map(|n| (n["metadata"]["name"].as_str().unwrap_or_default().to_owned(), labels(&n["metadata"])))
            .collect(),
        pods: items(&pods["items"]).filter_map(Pod::read).map(Arc::new).collect(),
    };
    let sender = find(&cluster, &pods, pod)?;
    let receiver = find(&cluster, &pods, peer)?;
    let (protocol, port) = port_of(receiver.class.as_deref(), port)?;
    said(&cluster, &sender, &receiver, protocol, port)
}

fn said(
    cluster: &Cluster,
    sender: &Found,
    receiver: &Found,
    protocol: u8,
    port: u16,
) -> anyhow::Result<Explanation> {
    let mut halves = Vec::new();
    for (direction, own, other) in
        [(Direction::Egress, sender, receiver), (Direction::Ingress, receiver, sender)]
    {
        let word = if direction == Direction::Egress { "egress" } else { "ingress" };
        let what = format!("{word} of {}", own.name);
        let Some(class) = &own.class else {
            let why = "no policy selects it: it is no pod, or one with the node's network".to_owned();
            halves.push(Half { what, allowed: true, selecting: Vec::new(), why });
            continue;
        };
        let family = own.addresses.first().is_none_or(IpAddr::is_ipv4);
        let same = other.addresses.iter().find(|ip| ip.is_ipv4() == family).or(other.addresses.first());
        let Some(address) = same else { bail!("{} has no address yet", other.name) };
        let end = End { address: *address, class: other.class.as_deref() };
        halves.push(half(what, judge(cluster, direction, class, end, protocol, port)));
    }
    Ok(Explanation { allowed: halves.iter().all(|half| half.allowed), halves })
}

fn half(what: String, outcome: Outcome<'_>) -> Half {
    let name = |policy: &Policy| format!("{}/{}", policy.namespace, policy.name);
    match outcome {
        Outcome::NotIsolated => {
            let why = "no policy selects it for this direction".to_owned();
            Half { what, allowed: true, selecting: Vec::new(), why }
        }
        Outcome::Allowed(policy, place) => {
            let why = format!("rule {} of {} allows it", place + 1, name(policy));
            Half { what, allowed: true, selecting: vec![name(policy)], why }
        }
        Outcome::Denied(policies) => {
            let why = "none of the policies that select it has a rule that allows it".to_owned();
            Half { what, allowed: false, selecting: policies.into_iter().map(name).collect(), why }
        }
    }
}

fn find(cluster: &Cluster, pods: &Value, text: &str) -> anyhow::Result<Found> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let known = cluster.pods.iter().find(|pod| pod.addresses.contains(&address));
        let name = known
            .map_or_else(|| text.to_owned(), |pod| format!("{}/{} ({text})", pod.class.namespace, pod.name));
        return Ok(Found { name, addresses: vec![address], class: known.map(|pod| pod.class.clone()) });
    }
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let shown = format!("{namespace}/{name}");
    if let Some(pod) = cluster.pods.iter().find(|pod| pod.name == name && pod.class.namespace == namespace) {
        let class = Some(pod.class.clone());
        return Ok(Found { name: shown, addresses: pod.addresses.clone(), class });
    }
    let same = |pod: &&Value| pod["metadata"]["name"] == name && pod["metadata"]["namespace"] == namespace;
    match items(&pods["items"]).find(same) {
        Some(pod) => {
            let addresses = items(&pod["status"]["podIPs"]).filter_map(|ip| ip["ip"].as_str()?.parse().ok());
            Ok(Found { name: shown, addresses: addresses.collect(), class: None })
        }
        None => bail!("there is no pod {shown}; write NAMESPACE/NAME or an address"),
    }
}

fn port_of(receiver: Option<&Class>, text: &str) -> anyhow::Result<(u8, u16)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    let protocol = protocol_number(&protocol.to_uppercase())
        .with_context(|| format!("{protocol:?} is none of TCP, UDP and SCTP"))?;
    if let Ok(port) = port.parse::<u16>() {
        return Ok((protocol, port));
    }
    let named = receiver.and_then(|class| class.named(port, protocol).next());
    let named =
        named.with_context(|| format!("the peer has no {} port called {port:?}", protocol_name(protocol)))?;
    Ok((protocol, named))
}

// === impl Explanation ===

impl Explanation {
    #[must_use]
    pub fn text(&self) -> String {
        let word = |allowed: bool| if allowed { "allowed" } else { "DENIED" };
        let mut text = format!("{}\n", word(self.allowed));
        for half in &self.halves {
            text += &format!("  {}: {}: {}\n", half.what, word(half.allowed), half.why);
            for policy in &half.selecting {
                text += &format!("    selected by {policy}\n");
            }
        }
        text
    }

    #[must_use]
    pub fn document(&self) -> Value {
        let halves: Vec<Value> = self
            .halves
            .iter()
            .map(|half| {
                json!({"what": half.what, "allowed": half.allowed, "selectedBy": half.selecting, "why": half.why})
            })
            .collect();
        json!({"allowed": self.allowed, "ways": halves})
    }
}
