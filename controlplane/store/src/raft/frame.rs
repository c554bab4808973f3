//! Frames: length, number, body.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::message::FRAME_LIMIT;

/// Reads one frame: its number and its body.
pub(super) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u64, Vec<u8>)> {
    let length = from.read_u32_le().await? as usize;
    if length > FRAME_LIMIT {
        return Err(io::Error::other(format!("a frame of {length} bytes; the limit is {FRAME_LIMIT}")));
    }
    let id = from.read_u64_le().await?;
    let mut body = Vec::new();
    // Grows as bytes come: a length alone takes no memory.
    let read = from.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((id, body))
}

/// Writes one frame.
pub(super) async fn write_frame(to: &mut (impl AsyncWrite + Unpin), id: u64, body: &[u8]) -> io::Result<()> {
    if body.len() > FRAME_LIMIT {
        return Err(io::Error::other(format!("a frame of {} bytes; the limit is {FRAME_LIMIT}", body.len())));
    }
    let mut frame = Vec::with_capacity(12 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    frame.extend_from_slice(body);
    to.write_all(&frame).await?;
    to.flush().await
}
