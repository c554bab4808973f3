//! Header blocks: names and values of a stream, in one zlib stream for each direction of a connection.
//!
//! ```text
//! count:u32 { length:u32 name  length:u32 value }      all of it compressed, flushed, never ended
//! ```
//!
//! The compressor keeps its history from block to block, so blocks are coded in the order in which they
//! travel. **Invariants.** A block never unfolds to more than [`MAX_BLOCK`] bytes or [`MAX_HEADERS`] names,
//! however well it was compressed. Reference: SPDY/3.1, section 2.6.10.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::frame::FrameError;

/// The largest header block, uncompressed.
pub const MAX_BLOCK: usize = 64 * 1024;
/// The most headers of one stream.
pub const MAX_HEADERS: usize = 256;
/// The smallest window that holds the dictionary: a compressor takes some 20 KiB instead of 256.
const WINDOW_BITS: u8 = 11;
/// How much output one step makes room for.
const STEP: usize = 4096;

/// Names and values. Names have no case: they travel in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// One direction's compressor.
pub struct Compressor {
    deflate: Compress,
    primed: bool,
}

/// One direction's decompressor.
pub struct Decompressor {
    inflate: Decompress,
}

// === impl Headers ===

impl Headers {
    pub fn new() -> Self {
        Headers::default()
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The value of that name; the first one where a name has several.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        value.split('\0').next()
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(64);
        put_length(&mut block, self.0.len());
        for (name, value) in &self.0 {
            for text in [name, value] {
                put_length(&mut block, text.len());
                block.extend_from_slice(text.as_bytes());
            }
        }
        block
    }

    fn decode(mut block: &[u8]) -> Result<Headers, FrameError> {
        let count = take_length(&mut block)?;
        if count > MAX_HEADERS {
            return Err(FrameError::TooManyHeaders(count));
        }
        let mut headers = Headers(Vec::with_capacity(count));
        for _ in 0..count {
            let name = take_text(&mut block)?.to_ascii_lowercase();
            let value = take_text(&mut block)?;
            if headers.0.iter().any(|(known, _)| *known == name) {
                return Err(FrameError::Headers("the same name twice"));
            }
            headers.0.push((name, value));
        }
        Ok(headers)
    }
}

// === impl Compressor ===

impl Compressor {
    pub fn new() -> Self {
        let deflate = Compress::new_with_window_bits(Compression::fast(), true, WINDOW_BITS);
        Compressor { deflate, primed: false }
    }

    pub fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, FrameError> {
        if !self.primed {
            self.deflate.set_dictionary(&dictionary()).map_err(|_| FrameError::Compression)?;
            self.primed = true;
        }
        let block = headers.encode();
        if block.len() > MAX_BLOCK {
            return Err(FrameError::BlockTooLarge);
        }
        let mut output = Vec::with_capacity(STEP);
        let mut rest = block.as_slice();
        loop {
            let before = self.deflate.total_in();
            self.deflate
                .compress_vec(rest, &mut output, FlushCompress::Sync)
                .map_err(|_| FrameError::Compression)?;
            rest = rest.get((self.deflate.total_in() - before) as usize..).unwrap_or_default();
            if rest.is_empty() && output.len() < output.capacity() {
                return Ok(output);
            }
            output.reserve(STEP);
        }
    }
}

// === impl Decompressor ===

impl Decompressor {
    pub fn new() -> Self {
        Decompressor { inflate: Decompress::new(true) }
    }

    pub fn block(&mut self, compressed: &[u8]) -> Result<Headers, FrameError> {
        let mut output = Vec::with_capacity(STEP);
        let mut rest = compressed;
        loop {
            let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self.inflate.decompress_vec(rest, &mut output, FlushDecompress::Sync);
            rest = rest.get((self.inflate.total_in() - taken) as usize..).unwrap_or_default();
            match result {
                Ok(Status::StreamEnd) => return Err(FrameError::Compression),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&dictionary()).map_err(|_| FrameError::Compression)?;
                    continue;
                }
                Err(_) => return Err(FrameError::Compression),
            }
            if output.len() > MAX_BLOCK {
                return Err(FrameError::BlockTooLarge);
            }
            let full = output.len() == output.capacity();
            if rest.is_empty() && !full {
                return Headers::decode(&output);
            }
            if !full && self.inflate.total_in() == taken && self.inflate.total_out() == made {
                return Err(FrameError::Compression);
            }
            output.reserve(STEP);
        }
    }
}

fn put_length(block: &mut Vec<u8>, length: usize) {
    block.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn take_length(block: &mut &[u8]) -> Result<usize, FrameError> {
    let (length, rest) = block.split_first_chunk::<4>().ok_or(FrameError::Headers("a length is missing"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*length) as usize)
}

fn take_text(block: &mut &[u8]) -> Result<String, FrameError> {
    let length = take_length(block)?;
    let (text, rest) = block.split_at_checked(length).ok_or(FrameError::Headers("a text is cut off"))?;
    *block = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_history_in_both_directions() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let mut sizes = Vec::new();
        for kind in ["error", "stdin", "stdout", "stderr", "resize", "stdout"] {
            let headers = Headers::new().with("streamType", kind).with("Port", "8080");
            let block = compressor.block(&headers).expect("a block");
            sizes.push(block.len());
            let got = decompressor.block(&block).expect("headers");
            assert_eq!(got, headers);
            assert_eq!(got.get("STREAMTYPE"), Some(kind));
        }
        assert!(sizes[5] < sizes[0], "history makes blocks smaller: {sizes:?}");
        assert_eq!(
            decompressor.block(&compressor.block(&Headers::new()).expect("a block")),
            Ok(Headers::new())
        );
    }

    #[test]
    fn large_blocks_pass_and_bombs_do_not() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let wide = Headers::new().with("wide", "x".repeat(MAX_BLOCK - 100));
        let block = compressor.block(&wide).expect("a block");
        assert!(block.len() < 1000);
        assert_eq!(decompressor.block(&block), Ok(wide));

        let mut deflate = Compress::new(Compression::best(), true);
        deflate.set_dictionary(&dictionary()).expect("a dictionary");
        let mut bomb = Vec::with_capacity(64 * 1024);
        deflate.compress_vec(&vec![0; 16 << 20], &mut bomb, FlushCompress::Sync).expect("compressed");
        assert_eq!(Decompressor::new().block(&bomb), Err(FrameError::BlockTooLarge));
    }
}
