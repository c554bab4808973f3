//! The task that reads: decodes frames and gives each to the stream it belongs to.
//!
//! Frames of streams that are gone are dropped without a word, as the peer may not have heard yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::MAX_STREAMS;
use super::connection::{ConnectionError, Role, Shared};
use super::decoder::Decoder;
use super::frame::{FLAG_FIN, FLAG_UNIDIRECTIONAL, Frame, reset};
use super::headers::Headers;
use super::stream::Stream;
use crate::pipe::End;

/// How many bytes one read asks for.
const READ_SIZE: usize = 32 * 1024;

pub(super) async fn run<R: AsyncRead>(
    io: R,
    shared: Arc<Shared>,
    accept: mpsc::Sender<Stream>,
    idle: Option<Duration>,
) {
    let closed = shared.closed.clone();
    let result = tokio::select! {
        result = read(io, &shared, accept) => result,
        idle = shared.activity.idle_for(idle) => Err(ConnectionError::Idle(idle)),
        () = closed.cancelled() => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(error = &error as &dyn std::error::Error, "a SPDY connection ended early");
    }
    shared.end();
}

async fn read<R: AsyncRead>(
    io: R,
    shared: &Arc<Shared>,
    accept: mpsc::Sender<Stream>,
) -> Result<(), ConnectionError> {
    let mut io = std::pin::pin!(io);
    let mut decoder = Decoder::new();
    loop {
        while let Some(frame) = decoder.frame()? {
            shared.activity.touch();
            handle(frame, shared, &accept).await?;
        }
        decoder.input.reserve(READ_SIZE);
        if io.read_buf(&mut decoder.input).await? == 0 {
            if decoder.between_frames() {
                return Ok(());
            }
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}

async fn handle(
    frame: Frame,
    shared: &Arc<Shared>,
    accept: &mpsc::Sender<Stream>,
) -> Result<(), ConnectionError> {
    match frame {
        Frame::SynStream { stream, flags, headers, .. } => {
            if let Some(new) = opened(shared, stream, flags, headers)? {
                // A dropped stream refuses itself, so nothing is left if nobody accepts.
                let _ = accept.send(new).await;
            }
        }
        Frame::SynReply { stream, fin, .. } => {
            let reply = shared.table().slots.get_mut(&stream).and_then(|slot| slot.reply.take());
            if let Some(reply) = reply {
                let _ = reply.send(Ok(()));
            }
            finish_if(fin, shared, stream);
        }
        Frame::Data { stream, fin, data } => {
            let filler = shared.table().slots.get(&stream).and_then(|slot| slot.filler.clone());
            if let Some(filler) = filler {
                filler.fill(data).await;
            }
            finish_if(fin, shared, stream);
        }
        Frame::Headers { stream, fin, .. } => finish_if(fin, shared, stream),
        Frame::Reset { stream, status } => {
            let slot = shared.table().slots.remove(&stream);
            if let Some(mut slot) = slot {
                slot.cut.store(true, Ordering::Release);
                if status == reset::CANCEL && slot.reply.is_none() {
                    slot.filler.take().into_iter().for_each(|filler| filler.end(End::Finished));
                }
                slot.end(End::Reset);
            }
        }
        // The peer answers to our numbers, we to its.
        Frame::Ping(id) if (id % 2 == 0) == (shared.role == Role::Client) => {
            shared.answer(Frame::Ping(id))?;
        }
        Frame::GoAway { .. } => shared.go_away(),
        Frame::Ping(_) | Frame::Settings(_) | Frame::WindowUpdate { .. } => {}
    }
    Ok(())
}

/// Takes in a stream of the peer's, or refuses it.
fn opened(
    shared: &Arc<Shared>,
    id: u32,
    flags: u8,
    headers: Headers,
) -> Result<Option<Stream>, ConnectionError> {
    let mut table = shared.table();
    let from_client = id % 2 == 1;
    let ours = from_client == (shared.role == Role::Client);
    if ours || id <= table.last_received {
        drop(table);
        shared.answer(Frame::Reset { stream: id, status: reset::PROTOCOL_ERROR })?;
        return Ok(None);
    }
    table.last_received = id;
    if table.slots.len() >= MAX_STREAMS {
        drop(table);
        shared.answer(Frame::Reset { stream: id, status: reset::REFUSED_STREAM })?;
        return Ok(None);
    }
    let stream = shared.register(&mut table, id, headers, None);
    if let Some(slot) = table.slots.get_mut(&id).filter(|_| flags & FLAG_UNIDIRECTIONAL != 0) {
        slot.finished = true;
        slot.cut.store(true, Ordering::Release);
    }
    drop(table);
    finish_if(flags & FLAG_FIN != 0, shared, id);
    Ok(Some(stream))
}

/// The peer has sent its last frame of this stream.
fn finish_if(fin: bool, shared: &Shared, id: u32) {
    if !fin {
        return;
    }
    let mut table = shared.table();
    let Some(slot) = table.slots.get_mut(&id) else { return };
    let filler = slot.filler.take();
    if slot.finished {
        table.slots.remove(&id);
    }
    drop(table);
    if let Some(filler) = filler {
        filler.end(End::Finished);
    }
}
