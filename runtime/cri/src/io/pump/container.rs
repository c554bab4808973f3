//! One container in the pump: its streams, its log, who is attached.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use keeper_api::Stream;
use sys::fifo::{CAPACITY, Scratch};
use sys::poll::Poll;
use tokio::sync::{mpsc, oneshot};

use super::Output;
use crate::io::line::{LONGEST_LINE, Prefix, append_entries};
use crate::io::log::LogFile;

/// Buffers written after a program's end: a FIFO holds one, a process that outlived it may add some.
const LAST_ROUNDS: usize = 64;

/// Somebody who wants the output. Bounded: who reads too slowly is cut off, not waited for.
#[derive(Debug)]
pub struct Attacher {
    pub stdout: Option<mpsc::Sender<Bytes>>,
    pub stderr: Option<mpsc::Sender<Bytes>>,
    /// Set when it was cut off.
    pub too_slow: Arc<AtomicBool>,
}

/// One container.
pub struct Container {
    pub outputs: Vec<Output>,
    pub log: Option<LogFile>,
    /// Its terminal's master, whose output is the first stream.
    pub terminal: Option<Arc<OwnedFd>>,
    attached: Vec<Attacher>,
    drain: Option<Drain>,
    /// The terminal has nobody on its other side.
    hung_up: bool,
}

struct Drain {
    done: Vec<oneshot::Sender<()>>,
    deadline: Instant,
}

impl Container {
    /// A container with these streams.
    pub fn new(outputs: Vec<Output>, log: Option<LogFile>) -> Container {
        Container { outputs, log, terminal: None, attached: Vec::new(), drain: None, hung_up: false }
    }

    /// Moves one buffer of each stream; `true` if there may be more.
    pub fn round(&mut self, scratch: &Scratch, buffer: &mut [u8], entries: &mut Vec<u8>) -> bool {
        let mut more = false;
        for index in 0..self.outputs.len() {
            if self.outputs[index].begins_in_rest() {
                more |= self.take_over(index, scratch, buffer);
            }
            more |= self.round_of(index, false, scratch, buffer, entries);
        }
        more
    }

    /// Moves what ends the line that waits in the rest, and what a terminal has said, to the rest.
    fn take_over(&mut self, index: usize, scratch: &Scratch, buffer: &mut [u8]) -> bool {
        let Output { fifo, rest, .. } = &self.outputs[index];
        let moved = match (fifo, &self.terminal) {
            (Some(fifo), _) => fifo.peek(scratch, &mut buffer[..LONGEST_LINE]).and_then(|count| {
                let end = buffer[..count].iter().position(|byte| *byte == b'\n');
                rest.fill_from(fifo, end.map_or(count, |end| end + 1))
            }),
            (None, Some(master)) => rest.fill_from(master, CAPACITY),
            (None, None) => Ok(0),
        };
        moved.unwrap_or_else(|error| {
            // EIO: every other end is closed. It is what the end of a terminal looks like.
            tracing::trace!(%error, "a terminal hung up");
            self.hung_up = true;
            0
        }) > 0
    }

    fn round_of(
        &mut self,
        index: usize,
        flush: bool,
        scratch: &Scratch,
        buffer: &mut [u8],
        entries: &mut Vec<u8>,
    ) -> bool {
        let output = &mut self.outputs[index];
        let head = match &output.fifo {
            Some(fifo) if !output.waits => fifo,
            _ => &output.rest,
        };
        let count = match head.peek(scratch, buffer) {
            Ok(count) => count,
            Err(error) => {
                tracing::error!(%error, "a container's output cannot be read");
                return false;
            }
        };
        if count == 0 {
            return false;
        }
        if count > output.seen {
            tell(&mut self.attached, output.stream, &buffer[output.seen..count]);
            output.seen = count;
        }
        entries.clear();
        let consumed = match &mut self.log {
            None => count,
            Some(log) => {
                let prefix = Prefix::new(jiff::Timestamp::now(), output.stream);
                let mut consumed = append_entries(&buffer[..count], &prefix, flush, entries);
                // A writer that waits for room without having ended its line would wait for ever.
                if consumed == 0 && output.rest.is_full() {
                    consumed = append_entries(&buffer[..count], &prefix, true, entries);
                }
                if !entries.is_empty() {
                    log.append(entries);
                }
                consumed
            }
        };
        if let Err(error) = head.discard(scratch, consumed) {
            // A container may read its own output: what it took meanwhile is nobody else's loss.
            tracing::trace!(%error, "a container's output was taken by somebody else");
            output.seen = 0;
            return error.kind() == io::ErrorKind::UnexpectedEof;
        }
        output.seen -= consumed;
        let left = count - consumed;
        match &output.fifo {
            // Nothing waits: what is left is a line without its end, and it must not stay here.
            Some(fifo) if !output.waits && left > 0 => match output.rest.fill_from(fifo, left) {
                Ok(moved) => {
                    output.waits = moved > 0;
                    output.seen = output.seen.min(moved);
                    return consumed > 0 || moved > 0;
                }
                Err(error) => tracing::error!(%error, "a container's output cannot be moved"),
            },
            _ => output.waits = left > 0 || output.waits && !output.rest.is_empty(),
        }
        consumed > 0
    }

    /// Sends the output to somebody more, beginning with what waits for the end of its line.
    pub fn attach(&mut self, attacher: Attacher, scratch: &Scratch, buffer: &mut [u8]) {
        if self.drain.is_some() {
            return;
        }
        let mut newcomer = vec![attacher];
        for output in &self.outputs {
            if let Ok(count) = output.rest.peek(scratch, buffer)
                && output.seen > 0
            {
                tell(&mut newcomer, output.stream, &buffer[..output.seen.min(count)]);
            }
        }
        self.attached.append(&mut newcomer);
    }

    /// The program has ended.
    pub fn drain(&mut self, done: oneshot::Sender<()>, deadline: Instant) {
        self.drain.get_or_insert_with(|| Drain { done: Vec::new(), deadline }).done.push(done);
    }

    /// When waiting for a terminal's last words ends.
    pub fn drain_deadline(&self) -> Option<Instant> {
        let drain = self.drain.as_ref().filter(|drain| !drain.done.is_empty())?;
        Some(drain.deadline)
    }

    /// Whether everything was said.
    pub fn may_finish(&self, now: Instant) -> bool {
        let patient = self.terminal.is_some() && !self.hung_up;
        self.drain_deadline().is_some_and(|deadline| !patient || now >= deadline)
    }

    /// Writes what is left, lines without end too, and lets the attached go.
    pub fn finish(&mut self, scratch: &Scratch, buffer: &mut [u8], entries: &mut Vec<u8>) {
        for _ in 0..LAST_ROUNDS {
            if !self.round(scratch, buffer, entries) {
                break;
            }
        }
        for index in 0..self.outputs.len() {
            self.round_of(index, true, scratch, buffer, entries);
        }
        self.attached.clear();
        for done in self.drain.iter_mut().flat_map(|drain| drain.done.drain(..)) {
            let _nobody_waits = done.send(());
        }
    }

    /// Takes everything out of the poll.
    pub fn unwatch(&self, poll: &Poll) {
        self.outputs.iter().filter_map(|output| output.fifo.as_ref()).for_each(|fifo| poll.remove(fifo));
        if let Some(master) = &self.terminal {
            poll.remove(&**master);
        }
    }
}

/// Gives bytes to everybody who wants this stream and keeps up.
fn tell(attached: &mut Vec<Attacher>, stream: Stream, bytes: &[u8]) {
    if attached.is_empty() {
        return;
    }
    let bytes = Bytes::copy_from_slice(bytes);
    attached.retain(|attacher| {
        let channel = if stream == Stream::Stderr { &attacher.stderr } else { &attacher.stdout };
        let Some(channel) = channel else { return !all_closed(attacher) };
        match channel.try_send(bytes.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                attacher.too_slow.store(true, Ordering::Relaxed);
                false
            }
        }
    });
}

fn all_closed(attacher: &Attacher) -> bool {
    [&attacher.stdout, &attacher.stderr].into_iter().flatten().all(mpsc::Sender::is_closed)
}
