//! An Ethernet address.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address such as 02:00:00:00:00:01")]
pub struct NotAMac(String);

impl Mac {
    /// Makes six bytes a unicast address that no vendor owns.
    #[must_use]
    pub fn local(mut bytes: [u8; 6]) -> Mac {
        bytes[0] = (bytes[0] & !1) | 2;
        Mac(bytes)
    }

    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Mac, NotAMac> {
        let wrong = || NotAMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Mac(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        assert_eq!("02:00:5E:00:00:ff".parse::<Mac>().unwrap().to_string(), "02:00:5e:00:00:ff");
        for wrong in ["", "02:00:5e:00:00", "02:00:5e:00:00:ff:00", "2:0:5e:0:0:ff", "02:00:5e:00:00:fg"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
        assert!(Mac::local([0xff; 6]).is_unicast());
        assert!(!"01:00:5e:00:00:01".parse::<Mac>().unwrap().is_unicast());
    }
}
