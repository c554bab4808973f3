//! Calls that are answered at the same time, and the moment when the last one of many has its answer.
//!
//! A hundred pods that are asked for at once touch much of the executable and of the heap, and need little of that while they
//! run. Their last answer is the event at which it is given back (`quiet`), not a quiet time after it.
//!
//! Not here: streams that go on after the answer has begun; they hold nothing of a burst.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

/// As many calls at once are a burst.
const BURST: usize = 8;
/// For so long after a burst a smaller one is its tail: its last pods come one by one.
const TAIL: Duration = Duration::from_secs(1);

/// Counts calls, and tells the end of each burst.
#[derive(Debug, Default)]
pub struct Burst {
    calls: Mutex<Calls>,
    pub over: Notify,
}

/// How many there are, and were since there was none.
#[derive(Debug, Default)]
struct Calls {
    now: usize,
    most: usize,
    last: Option<Instant>,
}

impl Calls {
    fn begins(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    /// Whether a burst is over, or its tail.
    fn ends(&mut self) -> bool {
        self.now = self.now.saturating_sub(1);
        if self.now > 0 {
            return false;
        }
        if std::mem::take(&mut self.most) >= BURST {
            self.last = Some(Instant::now());
            return true;
        }
        self.last.is_some_and(|last| last.elapsed() < TAIL)
    }
}

/// One call, from its request to its answer, or to where its caller gives up.
struct Call(Arc<Burst>);

impl Call {
    fn begin(burst: &Arc<Burst>) -> Call {
        burst.calls.lock().unwrap_or_else(PoisonError::into_inner).begins();
        Call(burst.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let over = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).ends();
        if over {
            self.0.over.notify_one();
        }
    }
}

#[derive(Clone, Debug)]
pub struct BurstLayer(pub Arc<Burst>);

#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    burst: Arc<Burst>,
}

impl<S> Layer<S> for BurstLayer {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, burst: self.0.clone() }
    }
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(&self.burst);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(call);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often bursts ended, where so many calls were answered at once, one group after the other.
    fn check(groups: &[usize], expect: usize) {
        let mut calls = Calls::default();
        let mut over = 0;
        for group in groups {
            (0..*group).for_each(|_| calls.begins());
            over += (0..*group).filter(|_| calls.ends()).count();
        }
        assert_eq!(over, expect, "{groups:?}");
    }

    #[test]
    fn only_many_at_once_are_a_burst() {
        check(&[1; 100], 0);
        check(&[BURST - 1; 10], 0);
        check(&[BURST], 1);
        check(&[100, 1, 1, 100, 2], 5);
    }

    #[test]
    fn a_tail_ends() {
        let mut calls = Calls::default();
        (0..BURST).for_each(|_| calls.begins());
        assert_eq!((0..BURST).filter(|_| calls.ends()).count(), 1);
        calls.last = calls.last.and_then(|last| last.checked_sub(TAIL));
        calls.begins();
        assert!(!calls.ends());
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_has_ended_as_well() {
        let burst = Arc::new(Burst::default());
        let mut calls: Vec<Call> = (0..BURST).map(|_| Call::begin(&burst)).collect();
        let last = calls.pop();
        drop(calls);
        tokio::time::timeout(std::time::Duration::from_millis(1), burst.over.notified()).await.unwrap_err();
        drop(last);
        burst.over.notified().await;
    }
}
