//! The rules that kube-proxy writes for so many services, as text for iptables-restore and for nft.
//!
//! Written after the shapes that upstream documents (pkg/proxy/iptables, pkg/proxy/nftables): the same hooks, the same
//! order of jumps, one chain a service and one an endpoint. Service number `count` (the last one) and the two node
//! ports are real, all others lead to two addresses that nobody has.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A service and its endpoints.
pub struct Service {
    pub name: String,
    pub address: Ipv4Addr,
    pub protocol: &'static str,
    pub node_port: Option<u16>,
    pub endpoints: Vec<Ipv4Addr>,
}

/// The command that loads iptables' rules: the one for the kernel's own tables of rules where it works, as the
/// faster of the two for a packet; otherwise the one that translates them for nftables.
pub fn iptables_restore() -> &'static str {
    const LEGACY: &str = "iptables-legacy-restore";
    let probe = std::process::Command::new("unshare")
        .args(["-n", "sh", "-c", &format!("printf '*nat\\nCOMMIT\\n' | {LEGACY}")])
        .output();
    if probe.is_ok_and(|probe| probe.status.success()) { LEGACY } else { "iptables-restore" }
}

/// Where every Service and every endpoint listens.
pub const PORT: u16 = 80;
const PODS: &str = "10.1.0.0/16";

/// The names of chains have a hash; any will do that is unique.
fn tag(name: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    (0..16).map(|at| char::from(letters[(hash.rotate_left(at * 5) & 31) as usize])).collect()
}

pub fn iptables(services: &[Service]) -> String {
    let mut text = String::from(
        "*filter\n:KUBE-SERVICES - [0:0]\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-FORWARD - [0:0]\n\
         :KUBE-NODEPORTS - [0:0]\n:KUBE-PROXY-FIREWALL - [0:0]\n",
    );
    for chain in ["INPUT", "FORWARD", "OUTPUT"] {
        let _ = writeln!(text, "-A {chain} -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL");
        if chain == "INPUT" {
            text.push_str("-A INPUT -j KUBE-NODEPORTS\n");
        }
        if chain == "FORWARD" {
            text.push_str("-A FORWARD -j KUBE-FORWARD\n");
        }
        if chain != "INPUT" {
            let _ = writeln!(text, "-A {chain} -m conntrack --ctstate NEW -j KUBE-SERVICES");
        }
        if chain != "OUTPUT" {
            let _ = writeln!(text, "-A {chain} -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES");
        }
    }
    text.push_str(
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n\
         *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n",
    );
    for service in services {
        let _ = writeln!(text, ":KUBE-SVC-{} - [0:0]", tag(&service.name));
        if service.node_port.is_some() {
            let _ = writeln!(text, ":KUBE-EXT-{} - [0:0]", tag(&service.name));
        }
        for endpoint in &service.endpoints {
            let _ = writeln!(text, ":KUBE-SEP-{} - [0:0]", tag(&format!("{} {endpoint}", service.name)));
        }
    }
    text.push_str(
        "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n",
    );
    for service in services {
        iptables_service(&mut text, service);
    }
    text.push_str("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n");
    text
}

fn iptables_service(text: &mut String, service: &Service) {
    let Service { name, address, protocol, .. } = service;
    let own = tag(name);
    let called = format!("-m {protocol} -p {protocol} -d {address} --dport {PORT}");
    let comment = format!("-m comment --comment \"{name} cluster IP\"");
    let _ = writeln!(text, "-A KUBE-SERVICES {comment} {called} -j KUBE-SVC-{own}");
    if let Some(port) = service.node_port {
        let _ =
            writeln!(text, "-A KUBE-NODEPORTS -m {protocol} -p {protocol} --dport {port} -j KUBE-EXT-{own}");
        let _ = writeln!(text, "-A KUBE-EXT-{own} -j KUBE-MARK-MASQ\n-A KUBE-EXT-{own} -j KUBE-SVC-{own}");
    }
    let _ = writeln!(text, "-A KUBE-SVC-{own} {comment} {called} ! -s {PODS} -j KUBE-MARK-MASQ");
    let count = service.endpoints.len();
    for (at, endpoint) in service.endpoints.iter().enumerate() {
        let chain = tag(&format!("{name} {endpoint}"));
        let chance = match count - at {
            1 => String::new(),
            left => format!("-m statistic --mode random --probability {:.11} ", 1.0 / left as f64),
        };
        let _ = writeln!(text, "-A KUBE-SVC-{own} {chance}-j KUBE-SEP-{chain}");
        let _ = writeln!(text, "-A KUBE-SEP-{chain} -s {endpoint} -j KUBE-MARK-MASQ");
        let _ = writeln!(
            text,
            "-A KUBE-SEP-{chain} -m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}:{PORT}"
        );
    }
}

/// Base chains with their hooks, and what they do in order.
const NFT_CHAINS: &[(&str, &str, &[&str])] = &[
    ("firewall-check", "", &["ip daddr . meta l4proto . th dport vmap @firewall-ips"]),
    ("reject-chain", "", &["reject"]),
    ("cluster-ips-check", "", &["ip daddr @cluster-ips reject", "ip daddr { 10.96.0.0/13 } drop"]),
    ("service-endpoints-check", "", &["ip daddr . meta l4proto . th dport vmap @no-endpoint-services"]),
    (
        "nodeport-endpoints-check",
        "",
        &["ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"],
    ),
    ("mark-for-masquerade", "", &["mark set mark or 0x4000"]),
    (
        "masquerading",
        "",
        &["mark and 0x4000 == 0 return", "mark set mark xor 0x4000", "masquerade fully-random"],
    ),
    (
        "services",
        "",
        &[
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        ],
    ),
    (
        "filter-prerouting-pre-dnat",
        "type filter hook prerouting priority -110 ;",
        &["ct state new jump firewall-check"],
    ),
    (
        "filter-output-pre-dnat",
        "type filter hook output priority -110 ;",
        &["ct state new jump firewall-check"],
    ),
    (
        "filter-forward",
        "type filter hook forward priority 0 ;",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    (
        "filter-input",
        "type filter hook input priority 0 ;",
        &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
    ),
    (
        "filter-output",
        "type filter hook output priority 0 ;",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    ("nat-output", "type nat hook output priority -100 ;", &["jump services"]),
    ("nat-postrouting", "type nat hook postrouting priority 100 ;", &["jump masquerading"]),
    ("nat-prerouting", "type nat hook prerouting priority -100 ;", &["jump services"]),
];

pub fn nftables(services: &[Service], node: &[Ipv4Addr]) -> String {
    let table = "ip kube-proxy";
    let mut text = format!("add table {table}\n");
    for set in ["cluster-ips", "nodeport-ips"] {
        let _ = writeln!(text, "add set {table} {set} {{ type ipv4_addr ; }}");
    }
    for map in ["firewall-ips", "no-endpoint-services", "service-ips"] {
        let _ = writeln!(
            text,
            "add map {table} {map} {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}"
        );
    }
    for map in ["no-endpoint-nodeports", "service-nodeports"] {
        let _ = writeln!(text, "add map {table} {map} {{ type inet_proto . inet_service : verdict ; }}");
    }
    for (chain, hook, _) in NFT_CHAINS {
        let hook = if hook.is_empty() { String::new() } else { format!(" {{ {hook} }}") };
        let _ = writeln!(text, "add chain {table} {chain}{hook}");
    }
    for (chain, _, rules) in NFT_CHAINS {
        for rule in *rules {
            let _ = writeln!(text, "add rule {table} {chain} {rule}");
        }
    }
    let own: Vec<String> = node.iter().map(ToString::to_string).collect();
    let _ = writeln!(text, "add element {table} nodeport-ips {{ {} }}", own.join(", "));
    for service in services {
        nftables_service(&mut text, table, service);
    }
    text
}

fn nftables_service(text: &mut String, table: &str, service: &Service) {
    let Service { name, address, protocol, .. } = service;
    let chain = format!("service-{}-{name}", &tag(name)[..8]);
    let _ = writeln!(text, "add chain {table} {chain}");
    let mut leads = Vec::new();
    for (at, endpoint) in service.endpoints.iter().enumerate() {
        let own = format!("endpoint-{}-{name}__{endpoint}", &tag(&format!("{name} {endpoint}"))[..8]);
        let _ = writeln!(text, "add chain {table} {own}");
        let _ = writeln!(text, "add rule {table} {own} ip saddr {endpoint} jump mark-for-masquerade");
        let _ = writeln!(text, "add rule {table} {own} meta l4proto {protocol} dnat to {endpoint}:{PORT}");
        leads.push(format!("{at} : goto {own}"));
    }
    let _ = writeln!(
        text,
        "add rule {table} {chain} ip daddr {address} ip saddr != {PODS} jump mark-for-masquerade"
    );
    let _ = writeln!(
        text,
        "add rule {table} {chain} numgen random mod {} vmap {{ {} }}",
        leads.len(),
        leads.join(", ")
    );
    let _ = writeln!(text, "add element {table} cluster-ips {{ {address} }}");
    let _ = writeln!(
        text,
        "add element {table} service-ips {{ {address} . {protocol} . {PORT} : goto {chain} }}"
    );
    if let Some(port) = service.node_port {
        let outside = format!("external-{}-{name}", &tag(name)[..8]);
        let _ = writeln!(text, "add chain {table} {outside}");
        let _ = writeln!(text, "add rule {table} {outside} jump mark-for-masquerade");
        let _ = writeln!(text, "add rule {table} {outside} goto {chain}");
        let _ = writeln!(
            text,
            "add element {table} service-nodeports {{ {protocol} . {port} : goto {outside} }}"
        );
    }
}
