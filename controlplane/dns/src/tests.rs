//! Answers as a table, from objects as the API has them.

use client::Key;
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use crate::answer::{Answer, answer};
use crate::records::{Records, Service, Slice};
use crate::zone::Zone;

fn endpoint(address: &str, hostname: &str, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [address], "conditions": {"ready": ready}});
    if !hostname.is_empty() {
        endpoint["hostname"] = hostname.into();
    }
    endpoint
}

fn records() -> Records {
    let mut records = Records::default();
    let mut service = |name: &str, spec: Value| {
        records.set_service(&Key::new("default", name), Service::read(&json!({"spec": spec})));
    };
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 9}]);
    service("web", json!({"clusterIP": "10.96.0.20", "ports": ports}));
    service(
        "dual",
        json!({"clusterIPs": ["10.96.0.21", "fd00::21"], "ports": [{"name": "http", "port": 80}]}),
    );
    service("pets", json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}));
    service("alone", json!({"clusterIP": "None"}));
    service("early", json!({"clusterIP": "None", "publishNotReadyAddresses": true}));
    service("away", json!({"type": "ExternalName", "externalName": "Www.example.com"}));
    service("near", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}));
    service("loop", json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}));
    service("lost", json!({"type": "ExternalName", "externalName": "no.default.svc.cluster.local"}));
    records.set_service(
        &Key::new("kube-system", "kube-dns"),
        Service::read(&json!({"spec": {"clusterIP": "10.96.0.10"}})),
    );
    let mut slice = |service: &str, name: &str, endpoints: Value| {
        let slice = json!({"endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]});
        records.set_slice(Key::new("default", service), name, Some(Slice::read(&slice)));
    };
    slice("pets", "pets-1", json!([endpoint("10.1.0.1", "cat", true), endpoint("10.1.0.2", "", true)]));
    slice("pets", "pets-2", json!([endpoint("10.1.0.2", "", true), endpoint("10.1.0.3", "dog", false)]));
    slice("pets", "pets-6", json!([endpoint("fd00::1", "cat", true)]));
    slice("alone", "alone-1", json!([endpoint("10.1.0.4", "", false)]));
    slice("early", "early-1", json!([endpoint("10.1.0.5", "", false)]));
    slice("web", "web-1", json!([endpoint("10.1.0.6", "", true)]));
    records
}

/// The answer as text: `TYPE data` per record, `+` before additional ones, and the name where it is another one.
fn shown(name: &str, kind: RecordType) -> String {
    let (zone, records) = (Zone::new(&Name::from_ascii("cluster.local").unwrap(), true), records());
    let mut asked = Name::from_ascii(name).unwrap();
    asked.set_fqdn(true);
    let text = |record: &hickory_proto::rr::Record| {
        let other = if record.name == asked { String::new() } else { format!("{} ", record.name) };
        format!("{other}{} {}", record.record_type(), record.data)
    };
    match answer(&zone, &records, &asked, kind, 0) {
        Answer::NoData => "NODATA".into(),
        Answer::NoName => "NXDOMAIN".into(),
        Answer::NotOurs => "elsewhere".into(),
        Answer::Elsewhere { chain, target } => {
            let mut lines: Vec<String> = chain.iter().map(text).collect();
            lines.push(format!("elsewhere {target}"));
            lines.join("; ")
        }
        Answer::Records { answers, additionals } => {
            let mut lines: Vec<String> = answers.iter().map(text).collect();
            lines.extend(additionals.iter().map(|record| format!("+{}", text(record))));
            lines.join("; ")
        }
    }
}

#[track_caller]
fn check(name: &str, kind: RecordType, expect: &str) {
    assert_eq!(shown(name, kind), expect, "{name} {kind}");
}

#[test]
fn services() {
    use RecordType as T;
    check("web.default.svc.cluster.local", T::A, "A 10.96.0.20");
    check("WEB.Default.svc.Cluster.LOCAL", T::A, "A 10.96.0.20");
    check("web.default.svc.cluster.local", T::AAAA, "NODATA");
    check("web.default.svc.cluster.local", T::MX, "NODATA");
    check("dual.default.svc.cluster.local", T::AAAA, "AAAA fd00::21");
    check("dual.default.svc.cluster.local", T::ANY, "A 10.96.0.21; AAAA fd00::21");
    check("no.default.svc.cluster.local", T::A, "NXDOMAIN");
    check("web.other.svc.cluster.local", T::A, "NXDOMAIN");
    check("web.default.cluster.local", T::A, "NXDOMAIN");
    check("x.web.default.svc.cluster.local", T::A, "NXDOMAIN");
    // What ndots makes of other names.
    check("www.example.com.default.svc.cluster.local", T::A, "NXDOMAIN");
    check("www.example.com.svc.cluster.local", T::A, "NXDOMAIN");
    check("www.example.com.cluster.local", T::A, "NXDOMAIN");
    check("www.example.com", T::A, "elsewhere");
    check("local", T::A, "elsewhere");
}

#[test]
fn headless_services() {
    use RecordType as T;
    check("pets.default.svc.cluster.local", T::A, "A 10.1.0.1; A 10.1.0.2");
    check("pets.default.svc.cluster.local", T::AAAA, "AAAA fd00::1");
    check("alone.default.svc.cluster.local", T::A, "NXDOMAIN");
    check("early.default.svc.cluster.local", T::A, "A 10.1.0.5");
    check("early.default.svc.cluster.local", T::AAAA, "NODATA");
    check("cat.pets.default.svc.cluster.local", T::A, "A 10.1.0.1");
    check("cat.pets.default.svc.cluster.local", T::AAAA, "AAAA fd00::1");
    check("10-1-0-2.pets.default.svc.cluster.local", T::A, "A 10.1.0.2");
    check("dog.pets.default.svc.cluster.local", T::A, "NXDOMAIN");
}

#[test]
fn ports() {
    use RecordType as T;
    check(
        "_http._tcp.web.default.svc.cluster.local",
        T::SRV,
        "SRV 0 100 80 web.default.svc.cluster.local.; +web.default.svc.cluster.local. A 10.96.0.20",
    );
    check(
        "_http._tcp.dual.default.svc.cluster.local",
        T::SRV,
        "SRV 0 50 80 dual.default.svc.cluster.local.; +dual.default.svc.cluster.local. A 10.96.0.21; \
         +dual.default.svc.cluster.local. AAAA fd00::21",
    );
    check(
        "_http._tcp.early.default.svc.cluster.local",
        T::SRV,
        "SRV 0 100 8080 10-1-0-5.early.default.svc.cluster.local.; \
         +10-1-0-5.early.default.svc.cluster.local. A 10.1.0.5",
    );
    check("_http._udp.web.default.svc.cluster.local", T::SRV, "NXDOMAIN");
    check("_dns._udp.web.default.svc.cluster.local", T::A, "NODATA");
    check("_udp.web.default.svc.cluster.local", T::SRV, "NODATA");
    check("_sctp.web.default.svc.cluster.local", T::SRV, "NXDOMAIN");
    check("__tcp.web.default.svc.cluster.local", T::SRV, "NXDOMAIN");
}

#[test]
fn other_names_of_the_cluster() {
    use RecordType as T;
    check("dns-version.cluster.local", T::TXT, "TXT 1.1.0");
    check("dns-version.cluster.local", T::A, "NODATA");
    check("10-1-0-9.default.pod.cluster.local", T::A, "A 10.1.0.9");
    check("fd00--9.default.pod.cluster.local", T::AAAA, "AAAA fd00::9");
    check("10-1-0.default.pod.cluster.local", T::A, "NXDOMAIN");
    for name in ["cluster.local", "svc.cluster.local", "default.svc.cluster.local", "pod.cluster.local"] {
        check(name, T::A, "NODATA");
    }
    check("other.svc.cluster.local", T::A, "NXDOMAIN");
    check("cluster.local", T::NS, "NS ns.dns.cluster.local.");
    check("ns.dns.cluster.local", T::A, "A 10.96.0.10");
    assert!(
        shown("cluster.local", T::SOA).starts_with("SOA ns.dns.cluster.local. hostmaster.cluster.local. ")
    );
}

#[test]
fn aliases() {
    use RecordType as T;
    check("away.default.svc.cluster.local", T::A, "CNAME Www.example.com.; elsewhere Www.example.com.");
    check("away.default.svc.cluster.local", T::CNAME, "CNAME Www.example.com.");
    check(
        "near.default.svc.cluster.local",
        T::A,
        "CNAME web.default.svc.cluster.local.; web.default.svc.cluster.local. A 10.96.0.20",
    );
    check("near.default.svc.cluster.local", T::AAAA, "CNAME web.default.svc.cluster.local.");
    check("lost.default.svc.cluster.local", T::A, "CNAME no.default.svc.cluster.local.");
    assert_eq!(shown("loop.default.svc.cluster.local", T::A).matches("CNAME").count(), 9);
}

#[test]
fn reverse_names() {
    use RecordType as T;
    check("20.0.96.10.in-addr.arpa", T::PTR, "PTR web.default.svc.cluster.local.");
    check("20.0.96.10.in-addr.arpa", T::A, "NODATA");
    check("1.0.1.10.in-addr.arpa", T::PTR, "PTR cat.pets.default.svc.cluster.local.");
    check("2.0.1.10.in-addr.arpa", T::PTR, "PTR 10-1-0-2.pets.default.svc.cluster.local.");
    // Not ready, and behind a Service with an address of its own.
    check("3.0.1.10.in-addr.arpa", T::PTR, "elsewhere");
    check("6.0.1.10.in-addr.arpa", T::PTR, "elsewhere");
    check("0.1.10.in-addr.arpa", T::PTR, "elsewhere");
    let mut name = String::from("1.");
    name.push_str(&"0.".repeat(27));
    name.push_str("0.0.d.f.ip6.arpa");
    check(&name, T::PTR, "PTR cat.pets.default.svc.cluster.local.");
}

#[test]
fn several_addresses_take_turns() {
    let (zone, records) = (Zone::new(&Name::from_ascii("cluster.local").unwrap(), true), records());
    let name = Name::from_ascii("pets.default.svc.cluster.local.").unwrap();
    let first = |turn| match answer(&zone, &records, &name, RecordType::A, turn) {
        Answer::Records { answers, .. } => answers[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!([first(0), first(1), first(2)], ["10.1.0.1", "10.1.0.2", "10.1.0.1"]);
}
