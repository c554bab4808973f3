//! How the host's end of a pod's link says whose it is: the plugin writes it, whoever looks at links reads it.
//!
//! ```text
//! kn4d12418f9cc9   alias "keelson NETWORK CONTAINER IFNAME"
//! ```

use crate::Attachment;

/// Begins the name of every host link of ours.
pub const LINK_PREFIX: &str = "kn";

/// Begins the alias of every host link of ours.
const ALIAS_PREFIX: &str = "keelson";

/// Whose link it is, in words.
#[must_use]
pub fn alias(network: &str, attachment: &Attachment) -> String {
    format!("{ALIAS_PREFIX} {network} {} {}", attachment.container, attachment.ifname)
}

/// Whose link this is, if it is one of this network's.
#[must_use]
pub fn owner(network: &str, alias: &str) -> Option<Attachment> {
    let mut parts = alias.split(' ');
    let ours = parts.next() == Some(ALIAS_PREFIX) && parts.next() == Some(network);
    let attachment = Attachment { container: parts.next()?.to_owned(), ifname: parts.next()?.to_owned() };
    (ours && parts.next().is_none()).then_some(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_by_alias() {
        let attachment = Attachment { container: "c1".to_owned(), ifname: "eth0".to_owned() };
        assert_eq!(alias("pods", &attachment), "keelson pods c1 eth0");
        assert_eq!(owner("pods", "keelson pods c1 eth0"), Some(attachment));
        for foreign in ["keelson other c1 eth0", "keelson pods c1", "keelson pods c1 eth0 x", "", "docker"] {
            assert_eq!(owner("pods", foreign), None, "{foreign}");
        }
    }
}
