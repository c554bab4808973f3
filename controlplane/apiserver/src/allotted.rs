//! The time that a request may take, and what an answer holds while nobody reads it.
//!
//! ```text
//!   request ─► answer begins: at most the allotted time, else 504
//!           ─► answer is read: at most the same again, else its objects and its seat go and it breaks off
//!   watch   ─► what was there at its begin is read: each minute something, else it ends
//! ```
//!
//! Whoever reads slowly, or not at all, keeps a connection, but neither objects nor a place that others wait for. A timer runs
//! beside the body, because a body that the client has no room for is not asked for more.
//!
//! Reference: upstream's `--request-timeout`.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use api::status::Status;
use bytes::Bytes;
use futures::Stream;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use serve::BodyError;
use tokio_util::task::AbortOnDropHandle;

use crate::answer::Body;
use crate::fairness::Seat;

/// What a request is allotted where nothing else is said.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that may wait for its reader without a seat.
const SMALL_BYTES: u64 = 64 << 10;
/// Frames of a watch's begin that may wait for their reader as long as the watch lasts.
const FEW_FRAMES: usize = 256;

/// The answer to a request that took too long.
pub fn too_late() -> Status {
    Status::timeout("request did not complete within the allotted timeout", 0)
}

/// An answer that keeps its seat until it has been read, if it is large.
pub fn held(response: Response<Body>, seat: Seat, allotted: Duration) -> Response<Body> {
    let size = http_body::Body::size_hint(response.body());
    if size.upper().is_some_and(|bytes| bytes <= SMALL_BYTES) {
        return response;
    }
    response.map(|body| {
        let held = Shared::new((body, seat));
        let later = held.clone();
        let timer = AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(allotted).await;
            drop(later.take());
        }));
        Held { held, ended: false, _timer: timer }.boxed_unsync()
    })
}

/// A watch that begins with `count` frames, which its reader must not leave lying.
pub fn begun(
    frames: impl Stream<Item = Bytes> + Send + 'static,
    count: usize,
) -> Pin<Box<dyn Stream<Item = Bytes> + Send>> {
    let frames: Frames = Box::pin(frames);
    if count <= FEW_FRAMES {
        return frames;
    }
    let (held, read) = (Shared::new(frames), Arc::new(AtomicUsize::new(0)));
    let (later, seen) = (held.clone(), read.clone());
    let timer = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut before = 0;
        while before < count {
            tokio::time::sleep(REQUEST_TIMEOUT).await;
            let now = seen.load(Ordering::Relaxed);
            if now == before {
                return drop(later.take());
            }
            before = now;
        }
    }));
    Box::pin(Begun { held, read, _timer: timer })
}

type Frames = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Something that a timer may take away.
struct Shared<T>(Arc<Mutex<Option<T>>>);

impl<T> Shared<T> {
    fn new(what: T) -> Shared<T> {
        Shared(Arc::new(Mutex::new(Some(what))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not under the lock: what goes may be large.
    fn take(&self) -> Option<T> {
        self.lock().take()
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

struct Held {
    held: Shared<(Body, Seat)>,
    ended: bool,
    _timer: AbortOnDropHandle<()>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match self.held.lock().as_mut() {
            Some((body, _)) => ready!(Pin::new(body).poll_frame(context)),
            None => Some(Err("the answer was not read within the allotted timeout".into())),
        };
        if !matches!(frame, Some(Ok(_))) {
            self.ended = true;
            drop(self.held.take());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.held.lock().as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.held.lock().as_ref().map(|(body, _)| body.size_hint()).unwrap_or_default()
    }
}

struct Begun {
    held: Shared<Frames>,
    read: Arc<AtomicUsize>,
    _timer: AbortOnDropHandle<()>,
}

impl Stream for Begun {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let frame = match self.held.lock().as_mut() {
            Some(frames) => ready!(frames.as_mut().poll_next(context)),
            None => None,
        };
        self.read.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::{Full, StreamBody};

    use super::*;

    const TIME: Duration = Duration::from_secs(1);

    /// An answer of two pieces that holds something.
    fn answer(of: &Arc<()>) -> Response<Body> {
        let pieces = futures::stream::iter([of.clone(), of.clone()]);
        let pieces = pieces.map(|_| Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"piece"))));
        Response::new(StreamBody::new(pieces).boxed_unsync())
    }

    async fn piece(response: &mut Response<Body>) -> Option<Result<Bytes, String>> {
        let frame = response.body_mut().frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap()).map_err(|error| error.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_goes_and_the_answer_breaks_off() {
        let objects = Arc::new(());
        let mut response = held(answer(&objects), Seat::default(), TIME);
        assert_eq!(piece(&mut response).await, Some(Ok("piece".into())));
        assert!(Arc::strong_count(&objects) > 1);
        tokio::time::sleep(TIME * 2).await;
        assert_eq!(Arc::strong_count(&objects), 1);
        let broken = "the answer was not read within the allotted timeout".to_owned();
        assert_eq!(piece(&mut response).await, Some(Err(broken)));
        assert_eq!(piece(&mut response).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_in_time_is_whole() {
        let objects = Arc::new(());
        let mut response = held(answer(&objects), Seat::default(), TIME);
        for _ in 0..2 {
            assert_eq!(piece(&mut response).await, Some(Ok("piece".into())));
        }
        assert_eq!(piece(&mut response).await, None);
        assert_eq!(Arc::strong_count(&objects), 1, "before the response itself goes");
        let small = Full::new(Bytes::from_static(b"x")).map_err(|never| match never {}).boxed_unsync();
        let mut small = held(Response::new(small), Seat::default(), TIME);
        tokio::time::sleep(TIME * 2).await;
        assert_eq!(piece(&mut small).await, Some(Ok("x".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_read_goes_on_and_one_that_is_not_ends() {
        let count = FEW_FRAMES + 2;
        let frames = |of: &Arc<()>| {
            let of = of.clone();
            futures::stream::repeat_with(move || {
                let _ = &of;
                Bytes::from_static(b"frame")
            })
        };
        let objects = Arc::new(());
        let mut slow = begun(frames(&objects), count);
        for _ in 0..5 {
            assert!(slow.next().await.is_some());
            tokio::time::sleep(REQUEST_TIMEOUT * 3 / 4).await;
        }
        assert_eq!(Arc::strong_count(&objects), 2);
        tokio::time::sleep(REQUEST_TIMEOUT * 2).await;
        assert_eq!(Arc::strong_count(&objects), 1);
        assert!(slow.next().await.is_none());
        let mut read = begun(frames(&objects), count);
        for _ in 0..count {
            assert!(read.next().await.is_some());
        }
        tokio::time::sleep(REQUEST_TIMEOUT * 9).await;
        assert!(read.next().await.is_some(), "behind its begin a watch may rest");
    }
}
