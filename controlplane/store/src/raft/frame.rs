//! Frames: length, number, body. Those that wait for a connection's writer go out together.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::message::FRAME_LIMIT;

/// Frames that wait are written together up to so many bytes, more or less: one record of TLS, one system call.
pub(super) const TOGETHER_BYTES: usize = 64 << 10;
/// Bytes read at once.
pub(super) const READ_BYTES: usize = 32 << 10;
/// Length and number.
const HEADER_BYTES: usize = 12;
/// A body gets so much room before any of it has come.
const FIRST_ROOM: usize = 4 << 10;

/// Reads one frame: its number and its body.
pub(super) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u64, Vec<u8>)> {
    let length = from.read_u32_le().await? as usize;
    check_length(length)?;
    let id = from.read_u64_le().await?;
    let mut body = Vec::with_capacity(FIRST_ROOM.min(length + 32));
    // Grows as bytes come: a length alone takes no memory.
    let read = from.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((id, body))
}

/// Reads at least one frame, and all that have come whole with it; hands each on, with its number.
pub(super) async fn read_frames(
    from: &mut BufReader<impl AsyncRead + Unpin>,
    mut take: impl FnMut(u64, &[u8]),
) -> io::Result<()> {
    if from.buffer().is_empty() {
        from.fill_buf().await?;
    }
    let mut taken = false;
    while let Some((id, body)) = whole_frame(from.buffer()) {
        take(id, body);
        let size = HEADER_BYTES + body.len();
        from.consume(size);
        taken = true;
    }
    if !taken {
        let (id, body) = read_frame(from).await?;
        take(id, &body);
    }
    Ok(())
}

fn whole_frame(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let (length, id) = header.split_first_chunk::<4>()?;
    let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
    Some((u64::from_le_bytes(*id.first_chunk()?), body))
}

/// Adds a frame to those that are written next; one that fails leaves nothing.
pub(super) fn push_frame(buffer: &mut Vec<u8>, id: u64, body: &impl Serialize) -> io::Result<()> {
    let begin = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&id.to_le_bytes());
    let encoded = postcard::to_io(body, &mut *buffer).map(drop).map_err(io::Error::other);
    let length = buffer.len() - begin - HEADER_BYTES;
    let checked = encoded.and_then(|()| check_length(length));
    match checked {
        Ok(()) => buffer[begin..begin + 4].copy_from_slice(&(length as u32).to_le_bytes()),
        Err(_) => buffer.truncate(begin),
    }
    checked
}

fn check_length(length: usize) -> io::Result<()> {
    if length > FRAME_LIMIT {
        return Err(io::Error::other(format!("a frame of {length} bytes; the limit is {FRAME_LIMIT}")));
    }
    Ok(())
}

/// Writes frames, in one go where they are small.
pub(super) async fn write_frames(to: &mut (impl AsyncWrite + Unpin), frames: &mut Vec<u8>) -> io::Result<()> {
    to.write_all(frames).await?;
    to.flush().await?;
    frames.clear();
    // A snapshot's piece needs its room once.
    frames.shrink_to(2 * TOGETHER_BYTES);
    Ok(())
}
