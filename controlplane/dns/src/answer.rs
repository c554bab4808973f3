//! From a question to its answer. Pure.
//!
//! NXDOMAIN is said where neither the name nor anything below it exists, and nothing (NODATA) where the name exists
//! and has no record of the type: resolvers go on to the next search domain only after the former.
//!
//! Reference: Kubernetes DNS-Based Service Discovery 1.1.0; RFC 2308; RFC 8020.

use std::net::IpAddr;

use client::Key;
use hickory_proto::rr::{Name, Record, RecordType};

use crate::records::{Kind, Place, Records, Service};
use crate::zone::{self, Meaning, Zone};

/// CNAMEs that may follow each other.
const LONGEST_CHAIN: usize = 8;
/// Additional addresses beside SRV records; more help nobody.
const MOST_ADDITIONALS: usize = 64;
/// What the weights of a port's endpoints add up to.
const WHOLE_WEIGHT: usize = 100;
/// The Service of this server, whose address is the zone's server's.
const OWN: (&str, &str) = ("kube-system", "kube-dns");

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Records {
        answers: Vec<Record>,
        additionals: Vec<Record>,
    },
    /// The name exists, but not with this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The records lead to a name that somebody else must be asked for.
    Elsewhere {
        chain: Vec<Record>,
        target: Name,
    },
    /// Nothing of ours.
    NotOurs,
}

/// Answers from records alone. `turn` moves the order of several addresses.
pub(crate) fn answer(zone: &Zone, records: &Records, name: &Name, kind: RecordType, turn: usize) -> Answer {
    let question = Question { zone, records, kind, turn };
    let mut chain = Vec::new();
    let mut name = name.clone();
    loop {
        let target = match question.meant(&name) {
            Found::Alias(target) if kind != RecordType::CNAME && chain.len() < LONGEST_CHAIN => target,
            Found::Alias(target) => {
                chain.push(zone::alias(name, target));
                return Answer::Records { answers: chain, additionals: vec![] };
            }
            Found::Answer(Answer::NotOurs) if !chain.is_empty() => {
                return Answer::Elsewhere { chain, target: name };
            }
            Found::Answer(Answer::Records { answers, additionals }) => {
                chain.extend(answers);
                return Answer::Records { answers: chain, additionals };
            }
            // A chain that ends in nothing is an answer all the same.
            Found::Answer(_) if !chain.is_empty() => {
                return Answer::Records { answers: chain, additionals: vec![] };
            }
            Found::Answer(answer) => return answer,
        };
        chain.push(zone::alias(name, target.clone()));
        name = target;
    }
}

enum Found {
    Answer(Answer),
    Alias(Name),
}

impl From<Option<Vec<Record>>> for Found {
    /// `None`: no such name.
    fn from(records: Option<Vec<Record>>) -> Found {
        Found::Answer(match records {
            None => Answer::NoName,
            Some(answers) if answers.is_empty() => Answer::NoData,
            Some(answers) => Answer::Records { answers, additionals: vec![] },
        })
    }
}

struct Question<'a> {
    zone: &'a Zone,
    records: &'a Records,
    kind: RecordType,
    turn: usize,
}

impl Question<'_> {
    fn meant(&self, name: &Name) -> Found {
        match self.zone.meaning(name) {
            Meaning::Foreign => self.reverse(name),
            Meaning::Unknown => None.into(),
            Meaning::Branch => Some(vec![]).into(),
            Meaning::Apex => Some(self.apex()).into(),
            Meaning::SchemaVersion => Some(self.only(RecordType::TXT, || zone::version(name.clone()))).into(),
            Meaning::Server => self.service_addresses(name, &Key::new(OWN.0, OWN.1)).into(),
            Meaning::Pod(address) => Some(self.addresses(name, [address])).into(),
            Meaning::Namespace(namespace) => self.records.has_namespace(&namespace).then(Vec::new).into(),
            Meaning::Service(key) => self.service(name, &key),
            Meaning::Endpoint(key, label) => self.endpoint(name, &key, &label).into(),
            Meaning::Protocol(key, protocol) => {
                let service = self.records.service(&key);
                let known = service.is_some_and(|service| {
                    service.ports.iter().any(|port| port.protocol == protocol && !port.name.is_empty())
                });
                known.then(Vec::new).into()
            }
            Meaning::Port(key, port, protocol) => self.port(name, &key, &port, &protocol),
        }
    }

    fn apex(&self) -> Vec<Record> {
        let mut answers = Vec::new();
        if self.wants(RecordType::SOA) {
            answers.extend(self.zone.soa(self.records.changes()));
        }
        if self.wants(RecordType::NS) {
            answers.extend(self.zone.ns());
        }
        answers
    }

    fn service(&self, name: &Name, key: &Key) -> Found {
        let Some(service) = self.records.service(key) else { return None.into() };
        if let Kind::External(target) = &service.kind {
            // Validated by the API as a name; whatever is none cannot be asked for either.
            let Ok(mut target) = Name::from_ascii(target) else { return Some(vec![]).into() };
            target.set_fqdn(true);
            return Found::Alias(target);
        }
        if self.kind == RecordType::SRV {
            return self.locations(name, key, service, &|_, _| true);
        }
        self.service_addresses(name, key).into()
    }

    fn service_addresses(&self, name: &Name, key: &Key) -> Option<Vec<Record>> {
        let service = self.records.service(key)?;
        let addresses = match &service.kind {
            Kind::Cluster(addresses) => addresses.clone(),
            Kind::External(_) => vec![],
            Kind::Headless => {
                let places = self.records.places(key, service);
                let mut addresses: Vec<IpAddr> = places.iter().map(|place| place.address).collect();
                // Without any ready endpoint the name does not exist: so the specification has it.
                if addresses.is_empty() {
                    return None;
                }
                addresses.sort_unstable();
                addresses.dedup();
                addresses
            }
        };
        Some(self.addresses(name, addresses))
    }

    fn endpoint(&self, name: &Name, key: &Key, label: &str) -> Option<Vec<Record>> {
        let service = self.records.service(key)?;
        let places = self.records.places(key, service);
        let mut addresses: Vec<IpAddr> =
            places.iter().filter(|place| place.label == label).map(|place| place.address).collect();
        if addresses.is_empty() {
            return None;
        }
        addresses.sort_unstable();
        addresses.dedup();
        Some(self.addresses(name, addresses))
    }

    fn port(&self, name: &Name, key: &Key, port: &str, protocol: &str) -> Found {
        let Some(service) = self.records.service(key) else { return None.into() };
        self.locations(name, key, service, &|known, spoken| known == port && spoken == protocol)
    }

    /// SRV records of the ports that are wanted by name and protocol, with the addresses that they lead to.
    fn locations(
        &self,
        name: &Name,
        key: &Key,
        service: &Service,
        wanted: &dyn Fn(&str, &str) -> bool,
    ) -> Found {
        let places = match service.kind {
            Kind::Headless => self.records.places(key, service),
            Kind::Cluster(_) => self.own_places(service),
            Kind::External(_) => vec![],
        };
        let mut targets: Vec<(u16, &Place<'_>)> = Vec::new();
        for place in &places {
            for port in place.ports.iter().filter(|port| wanted(&port.name, &port.protocol)) {
                targets.push((port.number, place));
            }
        }
        if targets.is_empty() {
            return None.into();
        }
        if !self.wants(RecordType::SRV) {
            return Some(vec![]).into();
        }
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        let weight = u16::try_from((WHOLE_WEIGHT / targets.len()).max(1)).unwrap_or(1);
        for (number, place) in targets {
            let target = match service.kind {
                Kind::Headless => self.zone.endpoint(key, &place.label),
                _ => self.zone.service(key),
            };
            let Some(target) = target else { continue };
            let location = zone::location(name.clone(), weight, number, target.clone());
            // A Service of two families has two places behind one name.
            if !answers.contains(&location) {
                answers.push(location);
            }
            let address = zone::address(target, place.address);
            if additionals.len() < MOST_ADDITIONALS && !additionals.contains(&address) {
                additionals.push(address);
            }
        }
        Found::Answer(Answer::Records { answers, additionals })
    }

    fn own_places<'a>(&self, service: &'a Service) -> Vec<Place<'a>> {
        let Kind::Cluster(addresses) = &service.kind else { return vec![] };
        let place =
            |address: &IpAddr| Place { label: String::new(), address: *address, ports: &service.ports };
        addresses.iter().map(place).collect()
    }

    /// Names of addresses that we know; all others are somebody else's.
    fn reverse(&self, name: &Name) -> Found {
        let Some(address) = address_of(name) else { return Found::Answer(Answer::NotOurs) };
        let services = self.records.services_at(&address).filter_map(|key| self.zone.service(key));
        let mut names: Vec<Name> = services.collect();
        if names.is_empty() {
            let endpoints = self.records.endpoints_at(&address);
            names.extend(endpoints.iter().filter_map(|(key, label)| self.zone.endpoint(key, label)));
        }
        if names.is_empty() {
            return Found::Answer(Answer::NotOurs);
        }
        if !self.wants(RecordType::PTR) {
            return Some(vec![]).into();
        }
        Some(names.into_iter().map(|target| zone::pointer(name.clone(), target)).collect()).into()
    }

    fn addresses(&self, name: &Name, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Record> {
        let family =
            |address: &IpAddr| self.wants(if address.is_ipv4() { RecordType::A } else { RecordType::AAAA });
        let mut answers: Vec<Record> = addresses
            .into_iter()
            .filter(family)
            .map(|address| zone::address(name.clone(), address))
            .collect();
        if !answers.is_empty() {
            let turn = self.turn % answers.len();
            answers.rotate_left(turn);
        }
        answers
    }

    fn only(&self, kind: RecordType, record: impl FnOnce() -> Record) -> Vec<Record> {
        if self.wants(kind) { vec![record()] } else { vec![] }
    }

    fn wants(&self, kind: RecordType) -> bool {
        self.kind == kind || self.kind == RecordType::ANY
    }
}

/// The address that a whole name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(crate) fn address_of(name: &Name) -> Option<IpAddr> {
    let labels = name.num_labels();
    let whole = labels == 6 || labels == 34;
    let network = whole.then(|| name.parse_arpa_name().ok())??;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}
