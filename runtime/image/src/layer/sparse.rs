//! Sparse files in tar streams: where the stored bytes belong.
//!
//! Four forms exist: GNU's old header type `S`, and three with PAX records (0.0, 0.1 and 1.0).
//!
//! **Invariants.** A [`SparseMap`] that passed [`SparseMap::check`] has ascending pieces inside the file
//! that together are exactly the stored data. Reference: GNU tar manual, "Storing Sparse Files".

use std::io::{self, Read};

use super::tar_stream::malformed;

/// Pieces of one file; honest files have a few hundred.
const MOST_PIECES: usize = 1 << 16;
const BLOCK: usize = 512;

/// A file with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseMap {
    /// Length with all holes.
    pub length: u64,
    /// Offset and length of each piece of data.
    pub pieces: Vec<(u64, u64)>,
}

/// `GNU.sparse.*` records of one entry.
#[derive(Clone, Debug, Default)]
pub struct PaxSparse {
    major: Option<u64>,
    name: Option<Vec<u8>>,
    length: Option<u64>,
    numbers: Vec<u64>,
}

// === impl SparseMap ===

impl SparseMap {
    /// The pieces are in order, inside the file, and make up the stored bytes.
    pub fn check(&self, stored: u64) -> io::Result<()> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for (offset, length) in &self.pieces {
            let next = offset.checked_add(*length).ok_or_else(|| malformed("sparse map"))?;
            if *offset < end || next > self.length {
                return Err(malformed("sparse map"));
            }
            end = next;
            sum += length;
        }
        if sum == stored { Ok(()) } else { Err(malformed("sparse map does not fit its data")) }
    }

    fn push(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.pieces.len() >= MOST_PIECES {
            return Err(malformed("sparse map with too many pieces"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }
}

// === impl PaxSparse ===

impl PaxSparse {
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key {
            b"major" => self.major = Some(natural(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.length = Some(natural(value)?),
            b"offset" | b"numbytes" => self.numbers.push(natural(value)?),
            b"map" => self.numbers = value.split(|b| *b == b',').map(natural).collect::<io::Result<_>>()?,
            _ => {}
        }
        if self.numbers.len() > 2 * MOST_PIECES {
            return Err(malformed("sparse map with too many pieces"));
        }
        Ok(())
    }

    pub fn is_version_one(&self) -> bool {
        self.major == Some(1)
    }

    pub fn name(&self) -> Option<&[u8]> {
        self.name.as_deref()
    }

    /// Versions 0.0 and 0.1: everything is in the records.
    pub fn version_zero(&self) -> io::Result<Option<SparseMap>> {
        let Some(length) = self.length.filter(|_| !self.is_version_one()) else { return Ok(None) };
        let mut map = SparseMap { length, pieces: Vec::new() };
        for pair in self.numbers.chunks(2) {
            let [offset, length] = pair else { return Err(malformed("sparse map")) };
            map.push(*offset, *length)?;
        }
        Ok(Some(map))
    }
}

/// Version 1.0: decimal numbers, one a line, in whole blocks before the data.
pub fn version_one(
    records: &PaxSparse,
    mut read_block: impl FnMut(&mut [u8; BLOCK]) -> io::Result<()>,
) -> io::Result<SparseMap> {
    let mut block = [0u8; BLOCK];
    let mut at = BLOCK;
    let mut next = || -> io::Result<u64> {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                read_block(&mut block)?;
                at = 0;
            }
            at += 1;
            match block[at - 1] {
                b'\n' => return natural(&digits),
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Err(malformed("sparse map")),
            }
        }
    };
    let count = next()?;
    let mut map = SparseMap { length: records.length.unwrap_or_default(), pieces: Vec::new() };
    for _ in 0..count {
        let (offset, length) = (next()?, next()?);
        map.push(offset, length)?;
    }
    Ok(map)
}

/// The old form: four pieces in the header, 21 in each block that follows it.
pub fn old_gnu(header: &tar::Header, source: &mut impl Read) -> io::Result<SparseMap> {
    let gnu = header.as_gnu().ok_or_else(|| malformed("sparse entry without a GNU header"))?;
    let mut map = SparseMap { length: gnu.real_size()?, pieces: Vec::new() };
    let mut more = gnu.is_extended();
    for piece in gnu.sparse.iter().filter(|p| !p.is_empty()) {
        map.push(piece.offset()?, piece.length()?)?;
    }
    while more {
        let mut extended = tar::GnuExtSparseHeader::new();
        source.read_exact(extended.as_mut_bytes())?;
        for piece in extended.sparse().iter().filter(|p| !p.is_empty()) {
            map.push(piece.offset()?, piece.length()?)?;
        }
        more = extended.is_extended();
    }
    Ok(map)
}

fn natural(text: &[u8]) -> io::Result<u64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    parsed.ok_or_else(|| malformed("sparse map number"))
}
