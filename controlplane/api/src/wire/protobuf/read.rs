//! The wire format itself: tags, varints, lengths.

use super::ProtobufError;

pub const VARINT: u8 = 0;
pub const FIXED64: u8 = 1;
pub const LENGTH: u8 = 2;
pub const FIXED32: u8 = 5;

/// One field as it lies in a message.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub number: u32,
    pub wire_type: u8,
    /// The value of a varint or fixed field.
    pub scalar: u64,
    /// The content of a length-delimited field.
    pub bytes: &'a [u8],
}

/// Walks the fields of a message.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Reader { rest: message }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(ProtobufError::Truncated)?;
            self.rest = rest;
            if shift == 63 && *byte > 1 {
                return Err(ProtobufError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        if length > self.rest.len() {
            return Err(ProtobufError::Truncated);
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }

    /// The next field, `None` at the end.
    pub fn next_field(&mut self) -> Result<Option<Raw<'a>>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire_type = (tag & 7) as u8;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| *number > 0)
            .ok_or(ProtobufError::WireType(wire_type))?;
        let mut field = Raw { number, wire_type, scalar: 0, bytes: &[] };
        match wire_type {
            VARINT => field.scalar = self.varint()?,
            FIXED64 => field.scalar = little_endian(self.take(8)?),
            FIXED32 => field.scalar = little_endian(self.take(4)?),
            LENGTH => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Overflow)?;
                field.bytes = self.take(length)?;
            }
            other => return Err(ProtobufError::WireType(other)),
        }
        Ok(Some(field))
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
