//! Appends fields to a message.

use super::read::{FIXED64, LENGTH, VARINT};

/// A message being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl From<Vec<u8>> for Writer {
    /// Goes on behind what is written.
    fn from(written: Vec<u8>) -> Writer {
        Writer(written)
    }
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// How many bytes are written.
    pub fn written(&self) -> usize {
        self.0.len()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.length(number, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// What stands before a field of so many bytes.
    pub(super) fn length(&mut self, number: u32, length: usize) {
        self.tag(number, LENGTH);
        self.varint(length as u64);
    }

    pub fn string(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// Negative numbers take ten bytes, as everywhere in protobuf.
    pub fn integer(&mut self, number: u32, value: i64) {
        self.tag(number, VARINT);
        self.varint(value as u64);
    }

    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A nested message; `fill` writes its fields.
    pub fn message<E>(
        &mut self,
        number: u32,
        fill: impl FnOnce(&mut Writer) -> Result<(), E>,
    ) -> Result<(), E> {
        self.tag(number, LENGTH);
        // Most messages are short: a length of one byte is kept free, and what is longer moves.
        self.0.push(0);
        let start = self.0.len();
        fill(self)?;
        let end = self.0.len();
        let length = end - start;
        if length < 0x80 {
            self.0[start - 1] = length as u8;
            return Ok(());
        }
        let more = length.ilog2() as usize / 7;
        self.0.resize(end + more, 0);
        self.0.copy_within(start..end, start + more);
        let mut rest = length;
        for byte in &mut self.0[start - 1..start + more] {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        self.0[start - 1 + more] &= 0x7f;
        Ok(())
    }

    /// What was written, for who can write the field's bytes in place.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
