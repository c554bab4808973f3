//! Frames: length, number, body. Those that wait for a connection's writer go out together.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::FRAME_LIMIT;

/// Frames that wait are written together up to so many bytes, more or less: one record of TLS, one system call.
pub(super) const TOGETHER_BYTES: usize = 64 << 10;
/// Bytes read at once.
pub(super) const READ_BYTES: usize = 32 << 10;
/// A body gets so much room before any of it has come.
const FIRST_ROOM: usize = 4 << 10;

/// Reads one frame: its number and its body.
pub(super) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u64, Vec<u8>)> {
    let length = from.read_u32_le().await? as usize;
    if length > FRAME_LIMIT {
        return Err(io::Error::other(format!("a frame of {length} bytes; the limit is {FRAME_LIMIT}")));
    }
    let id = from.read_u64_le().await?;
    let mut body = Vec::with_capacity(FIRST_ROOM.min(length + 32));
    // Grows as bytes come: a length alone takes no memory.
    let read = from.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((id, body))
}

/// Adds a frame to those that are written next.
pub(super) fn push_frame(buffer: &mut Vec<u8>, id: u64, body: &[u8]) -> io::Result<()> {
    if body.len() > FRAME_LIMIT {
        return Err(io::Error::other(format!("a frame of {} bytes; the limit is {FRAME_LIMIT}", body.len())));
    }
    buffer.extend_from_slice(&(body.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&id.to_le_bytes());
    buffer.extend_from_slice(body);
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
