//! Identities: 64 hexadecimal digits for sandboxes and containers, from the kernel's random source.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Bytes of randomness in an id.
const ID_BYTES: usize = 32;

macro_rules! identity {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The id of a ", $what, ".")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new one.
            pub fn random() -> io::Result<$name> {
                random_hex().map($name)
            }

            /// One that was read back from a record.
            pub fn parse(text: &str) -> Option<$name> {
                is_id(text).then(|| $name(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

identity!(SandboxId, "sandbox");
identity!(ContainerId, "container");

fn is_id(text: &str) -> bool {
    text.len() == ID_BYTES * 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex() -> io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0u8; ID_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hexadecimal_digits() {
        let id = ContainerId::random().unwrap();
        assert_eq!(ContainerId::parse(id.as_str()).as_ref(), Some(&id));
        assert_ne!(ContainerId::random().unwrap(), id);
        for wrong in ["", "abc", &"g".repeat(64), &"A".repeat(64), "../../etc"] {
            assert_eq!(SandboxId::parse(wrong), None, "{wrong}");
        }
    }
}
