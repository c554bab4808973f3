//! Reading what the kernel sends: messages in a datagram, attributes in a message.
//!
//! Lenient on purpose. Kernels add attributes and make known ones longer; whoever asks for an attribute
//! gets it if it has at least the bytes that are needed. Every length is checked, so hostile or torn
//! bytes yield nothing rather than a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// struct nlmsghdr.
pub(crate) const HEADER_BYTES: usize = 16;

const ALIGNMENT: usize = 4;

/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are not part of the type.
const TYPE_MASK: u16 = 0x3fff;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of a datagram, until its end or the first length that cannot be.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let payload = bytes.get(HEADER_BYTES..length)?;
        let raw =
            Raw { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, sequence: u32_at(bytes, 8)?, payload };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(raw)
    })
}

/// The attributes behind a message's fixed part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub fn after(payload: &'a [u8], fixed: usize) -> Attributes<'a> {
        Attributes(payload.get(aligned(fixed)..).unwrap_or_default())
    }

    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.all().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.get(kind).unwrap_or_default())
    }

    pub fn u32(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// A string up to its NUL.
    pub fn text(self, kind: u16) -> Option<String> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    pub fn mac(self, kind: u16) -> Option<crate::Mac> {
        Some(crate::Mac(self.get(kind)?.try_into().ok()?))
    }

    pub fn ip(self, kind: u16) -> Option<IpAddr> {
        let bytes = self.get(kind)?;
        match bytes.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            _ => None,
        }
    }

    fn all(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut bytes = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16_at(bytes, 0)?);
            let kind = u16_at(bytes, 2)? & TYPE_MASK;
            let value = bytes.get(4..length)?;
            bytes = bytes.get(aligned(length)..).unwrap_or_default();
            Some((kind, value))
        })
    }
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    #[test]
    fn unknown_and_short_attributes_are_passed_over() {
        let bytes =
            [attribute(9999, &[1, 2, 3]), attribute(7, &[1]), attribute(8 | 0x8000, &5u32.to_ne_bytes())]
                .concat();
        let attributes = Attributes(&bytes);
        assert_eq!(attributes.u32(7), None);
        assert_eq!(attributes.u32(8), Some(5));
        assert_eq!(attributes.get(9999), Some(&[1u8, 2, 3][..]));
    }

    #[test]
    fn torn_bytes_end_the_walk() {
        let whole = [attribute(1, b"abc\0"), attribute(2, b"x")].concat();
        for cut in 0..whole.len() {
            let attributes = Attributes(&whole[..cut]);
            assert!(attributes.all().count() <= 2);
        }
        // A length of zero would walk for ever.
        assert_eq!(Attributes(&[0; 64]).all().count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(Attributes(&whole).text(1).as_deref(), Some("abc"));
    }
}
