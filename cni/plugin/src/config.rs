//! The plugin's own configuration, read from stdin and checked before anything is touched.
//!
//! ```json
//! {
//!   "cniVersion": "1.1.0", "name": "pods", "type": "keelson-cni",
//!   "mode": "auto", "agentSocket": "/run/keelson/net.sock", "fallback": "plain",
//!   "mtu": 1450,
//!   "ipam": {
//!     "ranges": [[{"subnet": "10.244.0.0/22"}], [{"subnet": "fd00:10:244::/64", "rangeStart": "fd00:10:244::10"}]]
//!   },
//!   "capabilities": {"mac": true, "ips": true, "ipRanges": true, "portMappings": true}
//! }
//! ```
//!
//! `podCIDRs: ["10.244.0.0/22", ...]` beside `mode` is short for one range per set. A pod gets one address
//! out of each set. Unknown members are refused (code 2): a misspelt one must not pass silently.
//!
//! Without `fallback` a missing agent is an error (code 11), never a pod without programs. What the plain mode
//! cannot do is refused, never ignored: host ports need the agent, bandwidth somebody else.

use std::path::PathBuf;

use cni_api::{
    AddressRange, Attachment, CniError, Code, Dns, Field, Misfit, Network, PortMapping, Success, Version,
};
use ipnet::IpNet;
use netlink::Mac;

use crate::ipam::{Range, RangeSet};

/// Where address reservations live when `ipam.dataDir` does not say otherwise: gone at reboot, like pods.
pub const STATE: &str = "/run/keelson/ipam";

/// Where the agent is when `agentSocket` does not say otherwise.
const AGENT_SOCKET: &str = "/run/keelson/net.sock";

/// Members that the specification gives meaning to, besides ours.
const KNOWN: [&str; 15] = [
    "cniVersion",
    "name",
    "type",
    "capabilities",
    "runtimeConfig",
    "prevResult",
    "args",
    "dns",
    "disableCheck",
    "mode",
    "agentSocket",
    "fallback",
    "mtu",
    "ipam",
    "podCIDRs",
];

const KNOWN_IPAM: [&str; 5] = ["type", "ranges", "subnet", "dataDir", "routes"];

/// RFC 791 and RFC 8200: what every link must carry; and the most that Ethernet devices take.
const MTU_MIN: u32 = 68;
const MTU_MIN_IPV6: u32 = 1280;
const MTU_MAX: u32 = 65535;

/// One address per set; more families than this do not exist.
const SETS_MAX: usize = 8;

/// How packets are carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Wired like plain, then registered with the node's agent, whose programs carry the packets.
    Auto {
        socket: PathBuf,
        /// Where no agent is, a pod is connected all the same.
        plain_without_agent: bool,
    },
    /// Routed veths, no programs.
    Plain,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub version: Version,
    pub network: String,
    pub mode: Mode,
    pub mtu: Option<u32>,
    pub sets: Vec<RangeSet>,
    /// Directory of this network's reservations.
    pub state: PathBuf,
    /// What the pod must get, if the runtime says so.
    pub mac: Option<Mac>,
    pub requested: Vec<std::net::IpAddr>,
    /// Ports of the host that lead to the pod.
    pub port_mappings: Vec<PortMapping>,
    pub dns: Dns,
    pub prev_result: Option<Success>,
    pub valid_attachments: Option<Vec<Attachment>>,
}

impl Config {
    pub fn read(network: Network) -> Result<Config, CniError> {
        refuse_unknown(&network)?;
        let runtime = &network.runtime_config;
        if let Some(bandwidth) = runtime.bandwidth.filter(|b| *b != cni_api::Bandwidth::default()) {
            return Err(unsupported(
                "runtimeConfig.bandwidth",
                &format!("{bandwidth:?}"),
                "chain a plugin that shapes",
            ));
        }
        let (mode, mtu, mut ranges, state) = network.own(read_own)?;
        let opened = runtime.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
        let port_mappings: Vec<PortMapping> = opened.cloned().collect();
        if mode == Mode::Plain {
            refuse_port_mappings(&port_mappings)?;
        }
        if !runtime.ip_ranges.is_empty() {
            ranges.clone_from(&runtime.ip_ranges);
        }
        let config = Config {
            version: network.version,
            state: state.join(&network.name),
            mode,
            mtu,
            sets: sets(&ranges)?,
            mac: runtime.mac.as_deref().filter(|mac| !mac.is_empty()).map(read_mac).transpose()?,
            requested: runtime.ips.iter().map(|ip| read_requested(ip)).collect::<Result<_, _>>()?,
            port_mappings,
            dns: runtime.dns.clone().unwrap_or(network.dns),
            prev_result: network.prev_result,
            valid_attachments: network.valid_attachments,
            network: network.name,
        };
        config.check_mtu()?;
        Ok(config)
    }

    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.sets.iter().any(RangeSet::is_ipv6)
    }

    fn check_mtu(&self) -> Result<(), CniError> {
        let least = if self.has_ipv6() { MTU_MIN_IPV6 } else { MTU_MIN };
        match self.mtu {
            Some(mtu) if !(least..=MTU_MAX).contains(&mtu) => Err(invalid(format!(
                "mtu is {mtu}: expected {least} to {MTU_MAX}, or no mtu for the kernel's default"
            ))),
            _ => Ok(()),
        }
    }
}

type Own = (Mode, Option<u32>, Vec<Vec<AddressRange>>, PathBuf);

fn read_own(root: &Field<'_>) -> Result<Own, Misfit> {
    let mode = read_mode(root)?;
    let mtu = root.get("mtu").map(|field| field.number()).transpose()?.filter(|mtu| *mtu != 0);
    let mut ranges = Vec::new();
    let mut state = PathBuf::from(STATE);
    if let Some(list) = root.get("podCIDRs") {
        for item in list.list()? {
            ranges.push(vec![whole(item.parse("a network such as 10.244.0.0/22")?)]);
        }
    }
    if let Some(ipam) = root.get("ipam") {
        if let Some(sets) = ipam.get("ranges") {
            ranges.extend(AddressRange::read_sets(&sets.list()?)?);
        }
        if let Some(subnet) = ipam.get("subnet") {
            ranges.push(vec![whole(subnet.parse("a network such as 10.244.0.0/22")?)]);
        }
        if let Some(folder) = ipam.get("dataDir") {
            state = PathBuf::from(folder.text()?);
            if !state.is_absolute() {
                return Err(folder.wrong("an absolute path"));
            }
        }
    }
    Ok((mode, mtu, ranges, state))
}

fn read_mode(root: &Field<'_>) -> Result<Mode, Misfit> {
    let plain = match root.get("mode") {
        None => false,
        Some(field) => match field.text()? {
            "auto" => false,
            "plain" => true,
            _ => return Err(field.wrong("auto or plain")),
        },
    };
    let socket = match root.get("agentSocket") {
        None => PathBuf::from(AGENT_SOCKET),
        Some(field) => PathBuf::from(field.text()?),
    };
    if let Some(field) = root.get("agentSocket").filter(|_| !socket.is_absolute()) {
        return Err(field.wrong("an absolute path"));
    }
    let plain_without_agent = match root.get("fallback") {
        None => false,
        Some(field) if field.text()? == "plain" => true,
        Some(field) => return Err(field.wrong("plain, or no fallback")),
    };
    Ok(if plain { Mode::Plain } else { Mode::Auto { socket, plain_without_agent } })
}

fn whole(subnet: IpNet) -> AddressRange {
    AddressRange { subnet, start: None, end: None, gateway: None }
}

fn sets(ranges: &[Vec<AddressRange>]) -> Result<Vec<RangeSet>, CniError> {
    if ranges.is_empty() || ranges.len() > SETS_MAX {
        let got = ranges.len();
        return Err(invalid(format!(
            "{got} address ranges: expected 1 to {SETS_MAX} in ipam.ranges or podCIDRs"
        )));
    }
    let read = |set: &Vec<AddressRange>| {
        let ranges: Result<Vec<Range>, _> = set.iter().map(Range::new).collect();
        ranges.and_then(RangeSet::new).map_err(|error| invalid(error.to_string()))
    };
    let sets: Vec<RangeSet> = ranges.iter().map(read).collect::<Result<_, _>>()?;
    for (k, set) in sets.iter().enumerate() {
        if let Some(other) = sets[..k].iter().find(|other| other.overlaps(set)) {
            return Err(invalid(format!("address ranges {other} and {set} overlap")));
        }
    }
    Ok(sets)
}

fn refuse_unknown(network: &Network) -> Result<(), CniError> {
    let refuse =
        |name: String, value: &serde_json::Value| Err(unsupported(&name, &value.to_string(), "remove it"));
    for (name, value) in &network.document {
        // Members with a slash belong to whoever owns the domain before it.
        if !KNOWN.contains(&name.as_str()) && !name.contains('/') {
            return refuse(name.clone(), value);
        }
    }
    for (name, value) in network.document.get("ipam").and_then(|ipam| ipam.as_object()).into_iter().flatten()
    {
        if !KNOWN_IPAM.contains(&name.as_str()) {
            return refuse(format!("ipam.{name}"), value);
        }
    }
    Ok(())
}

/// Only the agent can open ports of the host.
pub fn refuse_port_mappings(mappings: &[PortMapping]) -> Result<(), CniError> {
    match mappings.first() {
        None => Ok(()),
        Some(mapping) => Err(unsupported(
            "runtimeConfig.portMappings",
            &format!("{}:{}/{}", mapping.host_port, mapping.container_port, mapping.protocol),
            "use mode auto with an agent, or drop the capability and chain portmap",
        )),
    }
}

fn read_mac(text: &str) -> Result<Mac, CniError> {
    match text.parse::<Mac>() {
        Ok(mac) if mac.is_unicast() => Ok(mac),
        _ => Err(invalid(format!("runtimeConfig.mac is {text:?}: expected a unicast Ethernet address"))),
    }
}

fn read_requested(text: &str) -> Result<std::net::IpAddr, CniError> {
    let address = text.split('/').next().unwrap_or_default();
    address.parse().map_err(|_| invalid(format!("runtimeConfig.ips holds {text:?}: expected an IP address")))
}

fn unsupported(field: &str, value: &str, remedy: &str) -> CniError {
    CniError::new(Code::UnsupportedField, format!("{field} is not supported: {value}")).details(remedy)
}

fn invalid(msg: String) -> CniError {
    CniError::new(Code::InvalidConfig, msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(members: &str) -> Result<Config, CniError> {
        let text = format!(r#"{{"cniVersion":"1.1.0","name":"pods","type":"keelson-cni",{members}}}"#);
        Config::read(Network::parse(text.as_bytes())?)
    }

    #[test]
    fn what_is_right_is_read() {
        let config =
            read(r#""podCIDRs": ["10.244.0.0/22", "fd00::/64"], "mtu": 1450, "mode": "plain""#).unwrap();
        assert_eq!((config.sets.len(), config.mtu, config.mode), (2, Some(1450), Mode::Plain));
        assert_eq!(config.state, PathBuf::from("/run/keelson/ipam/pods"));
        let config =
            read(r#""ipam": {"subnet": "10.1.0.0/24", "dataDir": "/x"}, "cni.dev/other": 1"#).unwrap();
        let auto =
            |socket: &str, plain_without_agent| Mode::Auto { socket: socket.into(), plain_without_agent };
        assert_eq!(config.mode, auto(AGENT_SOCKET, false));
        assert_eq!(config.state, PathBuf::from("/x/pods"));
        let own = r#""podCIDRs": ["10.244.0.0/22"], "mode": "auto", "agentSocket": "/x/net.sock", "fallback": "plain""#;
        assert_eq!(read(own).unwrap().mode, auto("/x/net.sock", true));
        let override_ranges = r#""podCIDRs": ["10.244.0.0/22"], "runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/24"}]],
            "mac": "02:00:00:00:00:07", "ips": ["10.9.0.7/24"], "portMappings": [{"hostPort": 0, "containerPort": 80}]}"#;
        let config = read(override_ranges).unwrap();
        assert_eq!(config.sets[0].to_string(), "10.9.0.1-10.9.0.254");
        assert_eq!(config.requested.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |members: &str, code: u32, part: &str| {
            let error = read(members).unwrap_err();
            assert_eq!(error.code, code, "{members}: {error}");
            assert!(error.to_string().contains(part), "{members}: {error}");
        };
        check(r#""mode": "plain""#, 7, "0 address ranges");
        check(r#""podCIDRs": ["10.0.0.0/99"]"#, 7, r#"podCIDRs[0] is "10.0.0.0/99""#);
        check(
            r#""podCIDRs": ["10.0.0.0/8"], "mode": "bridge""#,
            7,
            r#"mode is "bridge": expected auto or plain"#,
        );
        check(r#""podCIDRs": ["10.0.0.0/8"], "ipMasq": true"#, 2, "ipMasq");
        check(r#""podCIDRs": ["10.0.0.0/8"], "agentSocket": "net.sock""#, 7, "an absolute path");
        check(r#""podCIDRs": ["10.0.0.0/8"], "fallback": "bridge""#, 7, "plain, or no fallback");
        check(r#""podCIDRs": ["10.0.0.0/8"], "ipam": {"gateway": "10.0.0.1"}"#, 2, "ipam.gateway");
        check(r#""podCIDRs": ["10.0.0.0/8", "10.1.0.0/16"]"#, 7, "overlap");
        check(r#""podCIDRs": ["fd00::/64"], "mtu": 1000"#, 7, "1280 to 65535");
        check(
            r#""ipam": {"ranges": [[{"subnet": "10.0.0.0/24", "rangeStart": "10.1.0.1"}]]}"#,
            7,
            "10.1.0.1",
        );
        check(r#""ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}"#, 7, "famil");
        check(r#""podCIDRs": ["10.0.0.0/8"], "runtimeConfig": {"mac": "01:00:5e:00:00:01"}"#, 7, "unicast");
        let ports = r#""podCIDRs": ["10.0.0.0/8"], "mode": "plain", "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080}]}"#;
        check(ports, 2, "80:8080/tcp");
        check(
            r#""podCIDRs": ["10.0.0.0/8"], "runtimeConfig": {"bandwidth": {"ingressRate": 5}}"#,
            2,
            "bandwidth",
        );
    }
}
