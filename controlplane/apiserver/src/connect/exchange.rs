//! One HTTP/1.1 request over a connection of its own, whose answer is passed on while it comes.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serve::BodyError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::AbortOnDropHandle;

use crate::answer::Body;

/// Headers that are about one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// An answer, and what drives the connection that it comes from.
pub(crate) struct Exchange {
    pub(crate) answer: Response<Incoming>,
    driver: AbortOnDropHandle<()>,
}

impl Exchange {
    /// Asks for a path, with nothing else.
    pub(crate) async fn get<T>(stream: T, host: &str, path: &str) -> Result<Exchange, String>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new());
        Exchange::send(stream, request.map_err(|error| error.to_string())?).await
    }

    /// Sends a request; the error is what a client may read.
    pub(crate) async fn send<T, B>(stream: T, request: Request<B>) -> Result<Exchange, String>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    {
        let failed = |error: hyper::Error| error.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong here shows in the answer or in its body.
            let _ = connection.await;
        }));
        let answer = sender.send_request(request).await.map_err(failed)?;
        Ok(Exchange { answer, driver })
    }
}

/// The answer for our client: its body as it comes, of a type that is known or the one it has, until the server stops.
pub(crate) fn streamed(
    exchange: Exchange,
    content_type: Option<&'static str>,
    stopping: &CancellationToken,
) -> Response<Body> {
    let (mut head, incoming) = exchange.answer.into_parts();
    let stopped = Box::pin(stopping.clone().cancelled_owned());
    let body = Streamed { incoming, stopped, _driver: exchange.driver };
    if let Some(content_type) = content_type {
        head.headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache, private")),
        ]);
    } else {
        end_to_end(&mut head.headers);
    }
    let mut response = Response::new(body.boxed_unsync());
    (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
    response
}

/// Leaves the headers that go on.
pub(crate) fn end_to_end(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // Bodies are framed anew; with a length only where it is known to be that of the body.
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        headers.remove(CONTENT_LENGTH);
    }
}

/// A body that keeps its connection alive, and ends it when nobody reads any more.
struct Streamed {
    incoming: Incoming,
    /// A log may be followed for ever; the server cannot wait for that.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    _driver: AbortOnDropHandle<()>,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.incoming).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
