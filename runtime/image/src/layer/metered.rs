//! Readers that count, hash and stop: one before the inflater, one behind it.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Fault;
use crate::digest::{Digest, Hasher};
use crate::limits::Limits;

/// Read from the source at once. Large enough that system calls and hash set-up vanish.
const CHUNK: usize = 128 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Compressed bytes: counted and hashed.
pub struct Compressed<R> {
    source: R,
    /// Read ahead to see the format.
    start: Vec<u8>,
    hasher: Hasher,
    count: Rc<Cell<u64>>,
    most: u64,
}

/// Unpacked bytes: counted, hashed, and stopped at the limits.
pub struct Inflated<R: Read> {
    source: Inflater<R>,
    hasher: Hasher,
    count: u64,
    compressed: Rc<Cell<u64>>,
    limits: Limits,
    /// Bytes that the image may still unpack to, shared by its layers.
    budget: Arc<AtomicU64>,
}

// === impl Compressed ===

impl<R: Read> Compressed<R> {
    pub fn new(source: R, hasher: Hasher, most: u64) -> Compressed<R> {
        Compressed { source, start: Vec::new(), hasher, count: Rc::new(Cell::new(0)), most }
    }

    /// The first bytes, which are read again afterwards. Called before anything else is read.
    fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        let mut start = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.read(&mut start[filled..])? {
                0 => break,
                got => filled += got,
            }
        }
        start.truncate(filled);
        self.start = start;
        Ok(&self.start)
    }

    pub fn count(&self) -> Rc<Cell<u64>> {
        self.count.clone()
    }

    /// Reads what the inflater left, and says what all of it was.
    pub fn finish(mut self) -> io::Result<(Digest, u64)> {
        let mut rest = [0u8; 4096];
        while self.read(&mut rest)? > 0 {}
        Ok((self.hasher.finish(), self.count.get()))
    }
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.start.is_empty() {
            let got = self.start.len().min(buffer.len());
            buffer[..got].copy_from_slice(&self.start[..got]);
            self.start.drain(..got);
            return Ok(got);
        }
        let got = self.source.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        let count = self.count.get() + got as u64;
        self.count.set(count);
        if count > self.most {
            return Err(Fault::Size { wanted: self.most, got: count }.into_io());
        }
        Ok(got)
    }
}

// === impl Inflated ===

impl<R: Read> Inflated<R> {
    pub fn new(
        source: Inflater<R>,
        hasher: Hasher,
        compressed: Rc<Cell<u64>>,
        limits: Limits,
        budget: Arc<AtomicU64>,
    ) -> Inflated<R> {
        Inflated { source, hasher, count: 0, compressed, limits, budget }
    }

    /// Reads to the end.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut rest = vec![0u8; CHUNK];
        while self.read(&mut rest)? > 0 {}
        Ok(())
    }

    /// Says what all of it was: unpacked and compressed.
    pub fn finish(self) -> io::Result<((Digest, u64), (Digest, u64))> {
        let compressed = self.source.into_source().finish()?;
        Ok(((self.hasher.finish(), self.count), compressed))
    }

    /// Gives up on the content, but says what the compressed bytes were.
    pub fn abandon(self) -> io::Result<(Digest, u64)> {
        self.source.into_source().finish()
    }

    fn check(&self, got: u64) -> Result<(), Fault> {
        let taken =
            self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(got));
        if taken.is_err() {
            let most = self.limits.unpacked_bytes;
            return Err(Fault::refused(format!("the image unpacks to more than {most} bytes")));
        }
        let allowed =
            self.compressed.get().saturating_mul(self.limits.ratio).max(self.limits.ratio_free_bytes);
        if self.count > allowed {
            let ratio = self.limits.ratio;
            return Err(Fault::refused(format!("the layer unpacks to more than {ratio} times its size")));
        }
        Ok(())
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        self.count += got as u64;
        self.check(got as u64).map_err(Fault::into_io)?;
        Ok(got)
    }
}

/// How a layer is compressed. Its first bytes decide, not its media type: builders mix them up.
pub enum Inflater<R: Read> {
    Plain(BufReader<Compressed<R>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Compressed<R>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Compressed<R>>>>),
}

// === impl Inflater ===

impl<R: Read> Inflater<R> {
    pub fn detect(mut source: Compressed<R>) -> io::Result<Inflater<R>> {
        let start = source.peek(ZSTD.len())?;
        let (gzip, zstd) = (start.starts_with(GZIP), start.starts_with(ZSTD));
        let source = BufReader::with_capacity(CHUNK, source);
        Ok(match (gzip, zstd) {
            (true, _) => Inflater::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            (_, true) => Inflater::Zstd(Box::new(zstd::stream::read::Decoder::with_buffer(source)?)),
            _ => Inflater::Plain(source),
        })
    }

    fn into_source(self) -> Compressed<R> {
        match self {
            Inflater::Plain(source) => source.into_inner(),
            Inflater::Gzip(decoder) => decoder.into_inner().into_inner(),
            Inflater::Zstd(decoder) => decoder.finish().into_inner(),
        }
    }
}

impl<R: Read> Read for Inflater<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Inflater::Plain(source) => source.read(buffer),
            Inflater::Gzip(decoder) => decoder.read(buffer),
            Inflater::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
