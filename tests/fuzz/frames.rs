//! SPDY: whatever a client sends, in whatever pieces, is the same frames or the same refusal; what was understood can be
//! sent on and is understood again.

use bytes::{Bytes, BytesMut};
use streaming::spdy::{Decoder, Encoder, Frame, FrameError, Headers};

use crate::mutate::{self, Verdict};

fn sent(frames: &[Frame]) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(), BytesMut::new());
    for frame in frames {
        encoder.encode(frame, &mut out).expect("a frame is encoded");
    }
    out.to_vec()
}

/// Frames up to the first error; data that came in pieces is joined.
fn received(input: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut frames) = (Decoder::new(), Vec::new());
    for piece in input.chunks(piece.max(1)) {
        decoder.input.extend_from_slice(piece);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => join(&mut frames, frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn join(frames: &mut Vec<Frame>, frame: Frame) {
    match (frames.last_mut(), frame) {
        (
            Some(Frame::Data { stream: open, fin: ended @ false, data: had }),
            Frame::Data { stream, fin, data },
        ) if *open == stream => {
            *had = Bytes::from([had.as_ref(), &data].concat());
            *ended = fin;
        }
        (_, frame) => frames.push(frame),
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let headers = Headers::new().with("streamType", "stdin").with("port", "80").with("requestID", "0");
    let syn =
        |stream| Frame::SynStream { stream, associated: 0, priority: 3, flags: 0, headers: headers.clone() };
    let data = Bytes::from_static(b"some data");
    vec![
        sent(&[
            syn(1),
            Frame::SynReply { stream: 1, fin: false, headers: Headers::new() },
            Frame::Data { stream: 1, fin: false, data: data.clone() },
            Frame::Data { stream: 1, fin: true, data },
            Frame::GoAway { last_good: 1, status: 0 },
        ]),
        sent(&[
            Frame::Settings(vec![(4, 1000), (0x0100_0007, 65_536)]),
            Frame::Ping(1),
            syn(3),
            Frame::Headers { stream: 3, fin: true, headers: headers.clone() },
            Frame::WindowUpdate { stream: 3, delta: 5 },
            Frame::Reset { stream: 3, status: 5 },
        ]),
    ]
}

#[test]
fn spdy_frames() {
    let corpus = corpus();
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    mutate::run("SPDY", &corpus, &[], |input| {
        let whole = received(input, input.len());
        assert_eq!(received(input, 1), whole, "byte by byte as at once");
        assert_eq!(received(input, 7), whole, "in pieces as at once");
        let (frames, error) = whole;
        // What is larger than a peer may send, we do not send either.
        let (mut encoder, mut out) = (Encoder::new(), BytesMut::new());
        if frames.iter().all(|frame| encoder.encode(frame, &mut out).is_ok()) {
            let (again, wrong) = received(&out, out.len());
            assert_eq!((again, wrong), (frames.clone(), None), "what was understood is understood again");
        }
        if error.is_none() && !frames.is_empty() { Verdict::Understood } else { Verdict::Refused }
    });
}
