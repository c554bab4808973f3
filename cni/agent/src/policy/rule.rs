//! A NetworkPolicy as it is read: selectors that are parsed, ports that are numbers.

use api::selector::LabelSelector;
use ipnet::IpNet;
use serde_json::Value;

use super::cluster::Labels;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// One policy. What cannot be understood selects nothing and allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub namespace: String,
    pub name: String,
    /// The object's resourceVersion.
    pub version: u64,
    /// The pods that it isolates.
    pub pods: LabelSelector,
    /// None: it says nothing about this direction.
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Empty: anybody.
    pub peers: Vec<Peer>,
    /// Empty: every port of every protocol.
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Pods {
        /// None: of the policy's own namespace.
        namespaces: Option<LabelSelector>,
        pods: LabelSelector,
    },
    Block {
        cidr: IpNet,
        except: Vec<IpNet>,
    },
    /// One that cannot be understood.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub protocol: u8,
    pub which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    /// Both included.
    Range(u16, u16),
    /// A port by the name that the receiver's container gives it.
    Named(String),
}

// === impl Policy ===

impl Policy {
    pub fn read(object: &Value) -> Policy {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rules = |list: &str, peers: &str| -> Vec<Rule> {
            items(&spec[list]).map(|rule| Rule::read(rule, peers)).collect()
        };
        let (ingress, egress) = (rules("ingress", "from"), rules("egress", "to"));
        let types: Vec<&str> = items(&spec["policyTypes"]).filter_map(Value::as_str).collect();
        let of = |name: &str, default: bool| if types.is_empty() { default } else { types.contains(&name) };
        let outgoing = of("Egress", !egress.is_empty());
        Policy {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            version: version(object),
            // One that is not there is an empty one.
            pods: if spec["podSelector"].is_null() {
                LabelSelector::everything()
            } else {
                selector(&spec["podSelector"])
            },
            ingress: of("Ingress", true).then_some(ingress),
            egress: outgoing.then_some(egress),
        }
    }

    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespace == namespace && self.pods.matches(labels)
    }

    pub fn rules(&self, direction: datapath::Direction) -> Option<&[Rule]> {
        match direction {
            datapath::Direction::Ingress => self.ingress.as_deref(),
            datapath::Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Every prefix that it names.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        let rules = self.ingress.iter().chain(&self.egress).flatten();
        rules.flat_map(|rule| &rule.peers).flat_map(|peer| match peer {
            Peer::Block { cidr, except } => std::iter::once(*cidr).chain(except.iter().copied()).collect(),
            _ => Vec::new(),
        })
    }
}

impl Rule {
    fn read(rule: &Value, peers: &str) -> Rule {
        Rule {
            peers: items(&rule[peers]).map(Peer::read).collect(),
            ports: items(&rule["ports"]).filter_map(Port::read).collect(),
        }
        .without_nonsense(items(&rule["ports"]).count())
    }

    /// Ports of which none can be understood are not all ports.
    fn without_nonsense(mut self, ports: usize) -> Rule {
        if ports > 0 && self.ports.is_empty() {
            self.peers = vec![Peer::Nobody];
        }
        self
    }
}

impl Peer {
    fn read(peer: &Value) -> Peer {
        if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
            let Ok(cidr) = cidr.parse::<IpNet>() else { return Peer::Nobody };
            let except = items(&peer["ipBlock"]["except"]).filter_map(Value::as_str);
            let except: Result<Vec<IpNet>, _> = except.map(|text| text.parse::<IpNet>()).collect();
            // An exception that is not understood might be any.
            let Ok(except) = except else { return Peer::Nobody };
            return Peer::Block { cidr: cidr.trunc(), except: except.iter().map(IpNet::trunc).collect() };
        }
        let part = |name: &str| Some(&peer[name]).filter(|value| !value.is_null()).map(selector);
        match (part("podSelector"), part("namespaceSelector")) {
            (None, None) => Peer::Nobody,
            (pods, namespaces) => Peer::Pods { namespaces, pods: pods.unwrap_or_default() },
        }
    }
}

impl Port {
    fn read(port: &Value) -> Option<Port> {
        let protocol = match port["protocol"].as_str().unwrap_or("TCP") {
            "TCP" => TCP,
            "UDP" => UDP,
            "SCTP" => SCTP,
            _ => return None,
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let which = match &port["port"] {
            Value::Null => Which::All,
            Value::String(name) => Which::Named(name.clone()),
            first => {
                let first = number(first)?;
                let last = if port["endPort"].is_null() { first } else { number(&port["endPort"])? };
                Which::Range(first, last)
            }
        };
        Some(Port { protocol, which })
    }
}

/// A protocol's number by its name in the API.
pub fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(TCP),
        "UDP" => Some(UDP),
        "SCTP" => Some(SCTP),
        _ => None,
    }
}

/// The name of a protocol's number.
pub fn protocol_name(number: u8) -> String {
    match number {
        1 => "ICMPv4".to_owned(),
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        SCTP => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}

pub fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn selector(selector: &Value) -> LabelSelector {
    LabelSelector::from_object(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing())
}
