//! One flow, for people and for programs.

use std::net::{IpAddr, SocketAddr};

use datapath::{COUNTERS, Packet, Verdict};
use serde::{Deserialize, Serialize};

use crate::policy::protocol_name;

const REPLY: u16 = 1;
const TCP: u8 = 6;

/// A pod, by its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub namespace: String,
    pub pod: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<Named>,
}

/// A packet that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// RFC 3339.
    pub time: String,
    /// `DROPPED` or `FORWARDED`.
    pub verdict: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drop_reason: Option<String>,
    /// None: its headers could not be read.
    pub source: Option<End>,
    pub destination: Option<End>,
    /// What they became, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_source: Option<End>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_destination: Option<End>,
    pub protocol: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub flags: String,
    pub is_reply: bool,
    /// Index of the link where it was met, and how long the packet is.
    pub link: u32,
    pub length: u32,
}

/// The kernel's clock and people's.
pub struct Clock {
    wall: jiff::Timestamp,
    nanoseconds: u64,
}

impl Clock {
    pub fn now() -> Clock {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
        Clock { wall: jiff::Timestamp::now(), nanoseconds: seconds * 1_000_000_000 + rest }
    }

    fn at(&self, nanoseconds: u64) -> jiff::Timestamp {
        let ago = std::time::Duration::from_nanos(self.nanoseconds.saturating_sub(nanoseconds));
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

impl Flow {
    pub fn of(packet: &Packet, name: impl Fn(IpAddr) -> Option<Named>, clock: &Clock) -> Flow {
        let end = |address: SocketAddr| End { address, name: name(address.ip()) };
        let ends = packet.ends;
        let changed = |before: SocketAddr, after: SocketAddr| (before != after).then(|| end(after));
        let (verdict, reason) = match packet.verdict {
            Verdict::Dropped(counter) => {
                let label =
                    COUNTERS.iter().find(|(known, _)| *known == counter).map_or("", |(_, label)| label);
                ("DROPPED", Some(label.trim_start_matches("drop_").to_uppercase()))
            }
            Verdict::Began | Verdict::Went => ("FORWARDED", None),
        };
        Flow {
            time: clock.at(packet.nanoseconds).to_string(),
            verdict: verdict.to_owned(),
            drop_reason: reason,
            source: ends.map(|ends| end(ends.source)),
            destination: ends.map(|ends| end(ends.destination)),
            to_source: ends.and_then(|ends| changed(ends.source, ends.to_source)),
            to_destination: ends.and_then(|ends| changed(ends.destination, ends.to_destination)),
            protocol: protocol_name(packet.protocol),
            flags: if packet.protocol == TCP { flags(packet.tcp) } else { String::new() },
            is_reply: packet.flow & REPLY != 0,
            link: packet.link,
            length: packet.length,
        }
    }

    /// As JSON, with its end of line.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// One line for people, in the order that Hubble has made usual.
    #[must_use]
    pub fn compact(&self) -> String {
        let end = |end: &Option<End>| match end {
            None => "?".to_owned(),
            Some(End { address, name: None }) => address.to_string(),
            Some(End { address, name: Some(name) }) => {
                format!("{}/{}:{}", name.namespace, name.pod, address.port())
            }
        };
        let became = |there: &Option<End>| match there {
            None => String::new(),
            Some(_) => format!(" ({})", end(there)),
        };
        let arrow = if self.is_reply { "<-" } else { "->" };
        let (first, second) = ((&self.source, &self.to_source), (&self.destination, &self.to_destination));
        let (left, right) = if self.is_reply { (second, first) } else { (first, second) };
        let reason = self.drop_reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
        let flags = if self.flags.is_empty() { String::new() } else { format!(" Flags: {}", self.flags) };
        format!(
            "{}: {}{} {arrow} {}{} {}{reason} ({}{flags})",
            self.time,
            end(left.0),
            became(left.1),
            end(right.0),
            became(right.1),
            self.verdict,
            self.protocol,
        )
    }
}

fn flags(tcp: u8) -> String {
    let names = [(0x02, "SYN"), (0x10, "ACK"), (0x08, "PSH"), (0x01, "FIN"), (0x04, "RST"), (0x20, "URG")];
    let set: Vec<&str> = names.iter().filter(|(bit, _)| tcp & bit != 0).map(|(_, name)| *name).collect();
    set.join(", ")
}
