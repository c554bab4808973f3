//! One record: length, checksum, index, payload, padding.
//!
//! The highest bit of the length says that the record is the first of a batch: everything before it was on disk when
//! it was written. Format 1 had no such bit.

/// What a segment begins with.
pub(super) const MAGIC: &[u8; 8] = b"KEELSLOG";
/// The format that this code writes.
pub(super) const FORMAT: u32 = 2;
/// Magic, format, checksum of both.
pub(super) const HEADER_BYTES: u64 = 16;
/// The largest payload. etcd's default request limit is 1.5 MiB; a transaction may hold several values.
pub(crate) const RECORD_LIMIT: usize = 8 << 20;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

pub(super) const PREFIX_BYTES: usize = 16;

/// In the length: the first record of a batch.
const FIRST_OF_BATCH: u32 = 1 << 31;

/// The header of a segment.
pub(super) fn header(format: u32) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Appends a record to a buffer.
pub(super) fn encode(buffer: &mut Vec<u8>, index: u64, payload: &[u8], first_of_batch: bool) {
    let mut length = u32::try_from(payload.len()).expect("the record limit is below 2 GiB");
    if first_of_batch {
        length |= FIRST_OF_BATCH;
    }
    let mut checksum = crc32c::crc32c(&length.to_le_bytes());
    checksum = crc32c::crc32c_append(checksum, &index.to_le_bytes());
    checksum = crc32c::crc32c_append(checksum, payload);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(&index.to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
}

/// Bytes of the record that begins with `prefix`, padding included; never more than the limit.
pub(super) fn size(prefix: &[u8]) -> usize {
    let length = prefix.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) & !FIRST_OF_BATCH);
    bytes((length as usize).min(RECORD_LIMIT))
}

/// Bytes of a record with a payload of this length, padding included.
pub(super) fn bytes(payload: usize) -> usize {
    (PREFIX_BYTES + payload).next_multiple_of(ALIGNMENT)
}

/// Where the records of a segment, header included, end. Behind them is room, or what a crash has torn.
pub fn end_of_records(segment: &[u8]) -> usize {
    let mut end = (HEADER_BYTES as usize).min(segment.len());
    while let Some(found) = segment.get(end..).and_then(decode) {
        end += found.size;
    }
    end
}

/// Whether nothing was ever written here: no record begins so.
pub(super) fn is_untouched(prefix: &[u8]) -> bool {
    prefix.iter().all(|byte| *byte == 0)
}

/// A record found in a buffer.
pub(super) struct Decoded<'a> {
    pub(super) index: u64,
    pub(super) payload: &'a [u8],
    /// Bytes that it takes, padding included.
    pub(super) size: usize,
    /// Everything before it was on disk when it was written.
    pub(super) first_of_batch: bool,
}

/// The record at the beginning of `bytes`; `None` where there is no whole, good one.
pub(super) fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let prefix = bytes.get(..PREFIX_BYTES)?;
    let word = u32::from_le_bytes(prefix[..4].try_into().ok()?);
    let length = (word & !FIRST_OF_BATCH) as usize;
    let checksum = u32::from_le_bytes(prefix[4..8].try_into().ok()?);
    let index = u64::from_le_bytes(prefix[8..].try_into().ok()?);
    if length > RECORD_LIMIT {
        return None;
    }
    let payload = bytes.get(PREFIX_BYTES..PREFIX_BYTES + length)?;
    let mut actual = crc32c::crc32c(&prefix[..4]);
    actual = crc32c::crc32c_append(actual, &prefix[8..]);
    actual = crc32c::crc32c_append(actual, payload);
    let size = self::bytes(length);
    let first_of_batch = word & FIRST_OF_BATCH != 0;
    (actual == checksum && bytes.len() >= size).then_some(Decoded { index, payload, size, first_of_batch })
}
