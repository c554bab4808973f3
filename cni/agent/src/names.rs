//! What the agent calls its kernel objects. Several nodes on one kernel tell theirs apart by an instance tag.

use std::fmt;

use netlink::Mac;

/// IFNAMSIZ - 1, less what a name has besides the tag.
const TAG_BYTES_MAX: usize = 10;

/// Ethernet addresses of the gateway pair: it has no other neighbours, so they need not be unique.
pub const GATEWAY_MAC: Mac = Mac([0x0a, 0x6b, 0x65, 0x65, 0x6c, 0x00]);
pub const PEER_MAC: Mac = Mac([0x0a, 0x6b, 0x65, 0x65, 0x6c, 0x01]);

/// Names of one node's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The end of the veth pair that holds addresses and routes.
    pub gateway: String,
    /// The end on which the program is.
    pub peer: String,
    /// The tunnel to other nodes.
    pub tunnel: String,
    /// The CNI network.
    pub network: String,
}

/// A tag that cannot be part of a link's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagError(String);

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no instance tag: expected 1 to {TAG_BYTES_MAX} lower-case letters, digits or '-'",
            self.0
        )
    }
}

impl std::error::Error for TagError {}

impl Names {
    /// The names of the one node of a machine, or of one of several.
    pub fn of(instance: &str) -> Result<Names, TagError> {
        if instance.is_empty() {
            return Ok(Names {
                gateway: "keelson0".to_owned(),
                peer: "keelson1".to_owned(),
                tunnel: "keelsonvx".to_owned(),
                network: "keelson".to_owned(),
            });
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if instance.len() > TAG_BYTES_MAX || !instance.bytes().all(fits) {
            return Err(TagError(instance.to_owned()));
        }
        Ok(Names {
            gateway: format!("kls0-{instance}"),
            peer: format!("kls1-{instance}"),
            tunnel: format!("klsx-{instance}"),
            network: format!("keelson-{instance}"),
        })
    }

    /// Whether a link is one that we make: never an uplink.
    pub fn is_ours(&self, link: &str) -> bool {
        [&self.gateway, &self.peer, &self.tunnel].iter().any(|own| *own == link) || is_pod_link(link)
    }
}

/// `kn` and twelve hexadecimal digits.
pub fn is_pod_link(link: &str) -> bool {
    let digits = link.strip_prefix(cni_api::host_link::LINK_PREFIX);
    digits.is_some_and(|digits| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_part_of_names_that_fit() {
        assert_eq!(Names::of("").unwrap().gateway, "keelson0");
        let tagged = Names::of("demo-12345").unwrap();
        assert_eq!(
            (tagged.gateway.as_str(), tagged.network.as_str()),
            ("kls0-demo-12345", "keelson-demo-12345")
        );
        assert!(tagged.gateway.len() <= 15 && tagged.peer.len() <= 15);
        for wrong in ["elevenbytes", "UPPER", "a/b", "a b"] {
            assert!(Names::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn our_links_are_known() {
        let names = Names::of("").unwrap();
        for (link, ours) in [
            ("keelson0", true),
            ("keelson1", true),
            ("keelsonvx", true),
            ("kn4d12418f9cc9", true),
            ("knight", false),
            ("eth0", false),
        ] {
            assert_eq!(names.is_ours(link), ours, "{link}");
        }
    }
}
