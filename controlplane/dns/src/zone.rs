//! The cluster's domain: which name means what, and the records that the zone itself has.
//!
//! ```text
//!                                        SERVICE.NAMESPACE.svc.DOMAIN      a Service
//!                               HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN      one of its endpoints
//!                       _PORT._PROTOCOL.SERVICE.NAMESPACE.svc.DOMAIN      where one of its ports is
//!                                    10-0-0-1.NAMESPACE.pod.DOMAIN      an address, spelled as a name
//!                                              dns-version.DOMAIN      of the schema
//! ```
//!
//! Reference: Kubernetes DNS-Based Service Discovery 1.1.0.

use std::net::IpAddr;

use client::Key;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};

use crate::records::undashed;

/// Seconds for which an answer may be kept, and that something is missing.
pub(crate) const TTL: u32 = 5;
/// Seconds between the refreshes of a secondary, and so on. Nobody transfers the zone.
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86_400;
/// The schema's version.
const SCHEMA: &str = "1.1.0";

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Not below the domain.
    Foreign,
    /// The domain itself.
    Apex,
    /// A name that only has others below it.
    Branch,
    /// All Services of a namespace.
    Namespace(String),
    Service(Key),
    /// An endpoint by its label.
    Endpoint(Key, String),
    /// `_tcp` of a Service: has ports below it.
    Protocol(Key, String),
    /// A port by name and protocol.
    Port(Key, String, String),
    /// A pod's address as a name.
    Pod(IpAddr),
    /// The server of the zone.
    Server,
    SchemaVersion,
    /// Below the domain, and nothing.
    Unknown,
}

/// The domain and its options.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub domain: Name,
    labels: Vec<Vec<u8>>,
    /// Whether addresses have names.
    pub pods: bool,
}

impl Zone {
    pub(crate) fn new(domain: &Name, pods: bool) -> Zone {
        let mut domain = domain.to_lowercase();
        domain.set_fqdn(true);
        let labels = domain.iter().map(<[u8]>::to_vec).collect();
        Zone { domain, labels, pods }
    }

    /// What a name means, in whatever case it is spelled.
    pub(crate) fn meaning(&self, name: &Name) -> Meaning {
        let labels: Vec<String> =
            name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
        let Some(own) = labels.len().checked_sub(self.labels.len()) else { return Meaning::Foreign };
        if labels[own..].iter().zip(&self.labels).any(|(label, ours)| label.as_bytes() != ours) {
            return Meaning::Foreign;
        }
        let labels: Vec<&str> = labels[..own].iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] => Meaning::Apex,
            ["svc" | "dns"] => Meaning::Branch,
            ["pod"] | [_, "pod"] if self.pods => Meaning::Branch,
            ["dns-version"] => Meaning::SchemaVersion,
            ["ns", "dns"] => Meaning::Server,
            [address, _, "pod"] if self.pods => undashed(address).map_or(Meaning::Unknown, Meaning::Pod),
            [namespace, "svc"] => Meaning::Namespace((*namespace).to_owned()),
            [service, namespace, "svc"] => Meaning::Service(Key::new(*namespace, *service)),
            [label, service, namespace, "svc"] => {
                let key = Key::new(*namespace, *service);
                match label.strip_prefix('_') {
                    Some(protocol) => Meaning::Protocol(key, protocol.to_owned()),
                    None => Meaning::Endpoint(key, (*label).to_owned()),
                }
            }
            [port, protocol, service, namespace, "svc"] => {
                match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                    (Some(port), Some(protocol)) => {
                        Meaning::Port(Key::new(*namespace, *service), port.to_owned(), protocol.to_owned())
                    }
                    _ => Meaning::Unknown,
                }
            }
            _ => Meaning::Unknown,
        }
    }

    /// `SERVICE.NAMESPACE.svc.DOMAIN`
    pub(crate) fn service(&self, key: &Key) -> Option<Name> {
        self.below(&[&key.name, &key.namespace, "svc"])
    }

    /// `LABEL.SERVICE.NAMESPACE.svc.DOMAIN`
    pub(crate) fn endpoint(&self, key: &Key, label: &str) -> Option<Name> {
        self.below(&[label, &key.name, &key.namespace, "svc"])
    }

    fn server(&self) -> Option<Name> {
        self.below(&["ns", "dns"])
    }

    /// Labels are names of objects, which are shorter than DNS allows; what does not fit is no name.
    fn below(&self, labels: &[&str]) -> Option<Name> {
        let mut name = Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?;
        name.set_fqdn(false);
        name.append_domain(&self.domain).ok()
    }

    pub(crate) fn soa(&self, serial: u32) -> Option<Record> {
        let host = self.below(&["hostmaster"])?;
        let soa = SOA::new(self.server()?, host, serial, REFRESH, RETRY, EXPIRE, TTL);
        Some(record(self.domain.clone(), RData::SOA(soa)))
    }

    pub(crate) fn ns(&self) -> Option<Record> {
        Some(record(self.domain.clone(), RData::NS(NS(self.server()?))))
    }
}

/// A record that may be kept for [`TTL`].
pub(crate) fn record(name: Name, data: RData) -> Record {
    Record::from_rdata(name, TTL, data)
}

pub(crate) fn address(name: Name, address: IpAddr) -> Record {
    record(
        name,
        match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        },
    )
}

pub(crate) fn alias(name: Name, target: Name) -> Record {
    record(name, RData::CNAME(CNAME(target)))
}

pub(crate) fn pointer(name: Name, target: Name) -> Record {
    record(name, RData::PTR(PTR(target)))
}

pub(crate) fn location(name: Name, weight: u16, port: u16, target: Name) -> Record {
    record(name, RData::SRV(SRV::new(0, weight, port, target)))
}

pub(crate) fn version(name: Name) -> Record {
    record(name, RData::TXT(TXT::new(vec![SCHEMA.to_owned()])))
}
