//! Tar archives that hold images rather than layers: their members by position.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

use super::metered::{Compressed, Inflater};
use super::tar_stream::{Entry, TarStream};
use crate::digest::{Algorithm, Hasher};

/// A reader of what a compressed file holds; none if the file is not compressed.
pub fn inflate(mut file: File) -> io::Result<Option<impl Read>> {
    let compressed = Compressed::new(&file, Hasher::new(Algorithm::Sha256), u64::MAX);
    let plain = matches!(Inflater::detect(compressed)?, Inflater::Plain(_));
    file.seek(SeekFrom::Start(0))?;
    if plain {
        return Ok(None);
    }
    Inflater::detect(Compressed::new(file, Hasher::new(Algorithm::Sha256), u64::MAX)).map(Some)
}

/// Calls `member` with each entry and the offset of its data.
pub fn walk(file: File, mut member: impl FnMut(&Entry, u64) -> io::Result<()>) -> io::Result<()> {
    let mut stream = TarStream::new(Counted { source: BufReader::new(file), count: 0 });
    while let Some(entry) = stream.next()? {
        member(&entry, stream.source().count)?;
    }
    Ok(())
}

struct Counted<R> {
    source: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.count += got as u64;
        Ok(got)
    }
}
