//! The task that writes: takes frames from the queue, codes them, sends them in batches.
//!
//! It is the only user of the encoder, so header blocks are compressed in the order in which they travel.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::connection::{ConnectionError, Shared};
use super::frame::{Encoder, Frame};
use crate::pipe::{DRAIN_TIMEOUT, End, Outgoing};

/// How many bytes are gathered before they are written.
const BATCH: usize = 64 * 1024;

/// What is queued besides data.
pub(super) enum Control {
    Frame(Frame),
    /// A frame that the peer provoked, counted until it is written.
    Answer(Frame, OwnedSemaphorePermit),
    /// Gives a stream up, unless both sides have finished it by then.
    Reset {
        stream: u32,
        status: u32,
    },
    /// The last thing to be sent.
    Close,
}

pub(super) async fn run<W: AsyncWrite>(
    io: W,
    shared: Arc<Shared>,
    queue: mpsc::UnboundedReceiver<Outgoing<Control>>,
) {
    let closed = shared.closed.clone();
    tokio::select! {
        biased;
        result = write(io, &shared, queue) => {
            if let Err(error) = result {
                tracing::debug!(error = &error as &dyn std::error::Error, "a SPDY connection cannot be written");
                // The reader goes on: what the peer sent before it closed is still to be read.
                shared.credit.close();
                shared.go_away();
                let _ = timeout(DRAIN_TIMEOUT, closed.cancelled()).await;
            }
        }
        () = closed.cancelled() => {}
    }
    shared.end();
}

async fn write<W: AsyncWrite>(
    io: W,
    shared: &Shared,
    mut queue: mpsc::UnboundedReceiver<Outgoing<Control>>,
) -> Result<(), ConnectionError> {
    let mut io = std::pin::pin!(io);
    let mut encoder = Encoder::new();
    let mut batch = BytesMut::with_capacity(BATCH);
    let mut permits = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        let mut last = false;
        while let Some(outgoing) = next {
            last = encode(outgoing, shared, &mut encoder, &mut batch, &mut permits)?;
            next = if last || batch.len() >= BATCH { None } else { queue.try_recv().ok() };
        }
        io.write_all(&batch).await?;
        io.flush().await?;
        shared.activity.touch();
        batch.clear();
        permits.clear();
        if last {
            io.shutdown().await?;
            break;
        }
    }
    Ok(())
}

/// Adds one queued thing to the batch; says whether it was the last.
fn encode(
    outgoing: Outgoing<Control>,
    shared: &Shared,
    encoder: &mut Encoder,
    batch: &mut BytesMut,
    permits: &mut Vec<OwnedSemaphorePermit>,
) -> Result<bool, ConnectionError> {
    let frame = match outgoing {
        Outgoing::Control(Control::Frame(frame)) => frame,
        Outgoing::Control(Control::Answer(frame, permit)) => {
            permits.push(permit);
            frame
        }
        Outgoing::Control(Control::Reset { stream, status }) => {
            let Some(slot) = shared.table().slots.remove(&stream) else { return Ok(false) };
            slot.end(End::Reset);
            Frame::Reset { stream, status }
        }
        Outgoing::Control(Control::Close) => {
            let last_good = shared.table().last_received;
            encoder.encode(&Frame::GoAway { last_good, status: 0 }, batch)?;
            return Ok(true);
        }
        Outgoing::Data { stream, data, credit } => {
            if !shared.table().slots.contains_key(&stream) {
                return Ok(false);
            }
            permits.push(credit);
            Frame::Data { stream, fin: false, data }
        }
        Outgoing::Finish { stream } => {
            let mut table = shared.table();
            let Some(slot) = table.slots.get_mut(&stream) else { return Ok(false) };
            slot.finished = true;
            if slot.filler.is_none() {
                table.slots.remove(&stream);
            }
            Frame::Data { stream, fin: true, data: Default::default() }
        }
    };
    encoder.encode(&frame, batch)?;
    Ok(false)
}
