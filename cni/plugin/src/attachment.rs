//! What one attachment is called on the host: all names follow from who it is for, so DEL finds the
//! link also when every record is lost.

use cni_api::Attachment;
use cni_api::host_link::{LINK_PREFIX, alias};
use netlink::Mac;

/// IFALIASZ - 1.
const ALIAS_BYTES_MAX: usize = 255;

/// Names and Ethernet addresses of both ends of the veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The host's end.
    pub link: String,
    /// Says in `ip link` whose it is, and lets GC tell.
    pub alias: String,
    pub host_mac: Mac,
    pub pod_mac: Mac,
}

impl Names {
    /// `None` when the names are too long for the kernel.
    #[must_use]
    pub fn of(network: &str, attachment: &Attachment) -> Option<Names> {
        let alias = alias(network, attachment);
        let digest = digest(alias.as_bytes());
        let bytes = digest.to_be_bytes();
        let tail: [u8; 5] = [bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]];
        let mac = |first: u8| Mac::local([first, tail[0], tail[1], tail[2], tail[3], tail[4]]);
        (alias.len() <= ALIAS_BYTES_MAX).then(|| Names {
            link: format!("{LINK_PREFIX}{:012x}", digest >> 16),
            alias,
            host_mac: mac(0x0a),
            pod_mac: mac(0x0e),
        })
    }
}

/// FNV-1a, finished by a mixer so that every bit of the input reaches every bit. Must never change:
/// a newer plugin deletes links that an older one made.
fn digest(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_fit() {
        let attachment = Attachment { container: "c1".to_owned(), ifname: "eth0".to_owned() };
        let names = Names::of("pods", &attachment).unwrap();
        assert_eq!(names.link, "kn4d12418f9cc9", "released versions made links of this name");
        assert!(names.link.len() <= 15);
        assert!(names.host_mac.is_unicast() && names.pod_mac.is_unicast() && names.host_mac != names.pod_mac);
        assert_eq!(Names::of(&"n".repeat(300), &attachment), None);
    }
}
