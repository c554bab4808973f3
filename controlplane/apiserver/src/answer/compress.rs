//! Large answers are compressed for clients that take gzip.
//!
//! Lists, objects and documents alone: streams of events and what others answer pass as they are. A body is compressed
//! while it is sent, so a list is in memory once and in pieces.
//! Reference: upstream's APIResponseCompression (threshold and level).

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use serve::BodyError;

use super::Body;

/// Less than this is sent as it is.
const THRESHOLD_BYTES: u64 = 128 << 10;
/// Fast: the network is rarely slower than a better level.
const LEVEL: u32 = 1;
/// Compressed bytes that are sent at once, more or less.
const PIECE_BYTES: usize = 16 << 10;

/// Marks a response whose body may be compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compressible;

/// Compresses a response where that is worth it and wanted.
pub fn compress(response: Response<Body>, accepted: Option<&HeaderValue>) -> Response<Body> {
    let size = response.body().size_hint();
    let marked = response.extensions().get::<Compressible>().is_some();
    if !marked || size.lower() < THRESHOLD_BYTES || !accepted.is_some_and(takes_gzip) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    head.headers.remove(CONTENT_LENGTH);
    let encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
    Response::from_parts(head, Gzip { body, encoder: Some(encoder) }.boxed_unsync())
}

/// What Accept-Encoding says.
fn takes_gzip(accepted: &HeaderValue) -> bool {
    accepted.to_str().is_ok_and(|value| value.split(',').any(|coding| coding.trim() == "gzip"))
}

struct Gzip {
    body: Body,
    /// None behind the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl http_body::Body for Gzip {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            let written = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Err(error)) => Err(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => encoder.write_all(&data).map_err(BodyError::from),
                    // Trailers: there are none.
                    Err(_) => Ok(()),
                },
                None => {
                    let encoder = this.encoder.take().map(GzEncoder::finish);
                    let last = encoder.transpose().map(Option::unwrap_or_default);
                    let frame = last.map(|bytes| Frame::data(bytes.into())).map_err(BodyError::from);
                    return Poll::Ready(Some(frame));
                }
            };
            if let Err(error) = written {
                return Poll::Ready(Some(Err(error)));
            }
            let made = encoder.get_mut();
            if made.len() >= PIECE_BYTES {
                let piece = std::mem::take(made);
                return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use http_body_util::Full;

    fn response(length: usize, marked: bool) -> Response<Body> {
        let text = "a line of text\n".repeat(length / 15 + 1);
        let mut response =
            Response::new(Full::from(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
        if marked {
            response.extensions_mut().insert(Compressible);
        }
        response
    }

    #[tokio::test]
    async fn what_is_large_is_compressed_for_those_who_take_it() {
        for (length, marked, accept, compressed) in [
            (300_000, true, "gzip", true),
            (300_000, true, "deflate, gzip, br", true),
            (300_000, true, "br", false),
            (300_000, true, "", false),
            (300_000, false, "gzip", false),
            (1_000, true, "gzip", false),
        ] {
            let accepted = HeaderValue::from_static(accept);
            let plain = response(length, marked).into_body().collect().await.unwrap().to_bytes();
            let answer = compress(response(length, marked), Some(&accepted));
            assert_eq!(answer.headers().contains_key(CONTENT_ENCODING), compressed, "{length} {accept:?}");
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let text = if compressed {
                let mut text = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
                assert!(body.len() < plain.len() / 10);
                text
            } else {
                body.to_vec()
            };
            assert!(text == plain, "{length} {accept:?}");
        }
    }
}
