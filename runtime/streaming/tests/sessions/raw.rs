//! A peer that speaks frames by hand, as moby/spdystream does: reply first, pings, resets, bad numbers.

use bytes::{Bytes, BytesMut};
use keelson_streaming::client;
use keelson_streaming::spdy::{Decoder, Encoder, Frame, Headers, reset};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::exec::{INPUT, exec};
use crate::{Running, within};

struct Peer {
    io: client::Upgraded,
    encoder: Encoder,
    decoder: Decoder,
}

impl Peer {
    async fn connect(running: &Running) -> Peer {
        let url = running.url(exec("cat", INPUT));
        let (io, _) =
            client::spdy(running.dial().await, &url, &["v4.channel.k8s.io"]).await.expect("a session");
        Peer { io, encoder: Encoder::new(), decoder: Decoder::new() }
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes).expect("encoded");
        self.io.write_all(&bytes).await.expect("sent");
    }

    async fn open(&mut self, stream: u32, kind: &str) {
        let headers = Headers::new().with("streamtype", kind);
        self.send(Frame::SynStream { stream, associated: 0, priority: 0, flags: 0, headers }).await;
    }

    /// The next frame; nothing at the end.
    async fn next(&mut self) -> Option<Frame> {
        within(async {
            loop {
                if let Some(frame) = self.decoder.frame().expect("a frame") {
                    return Some(frame);
                }
                if self.io.read_buf(&mut self.decoder.input).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    async fn expect(&mut self, expect: Frame) {
        assert_eq!(self.next().await, Some(expect));
    }
}

fn reply(stream: u32) -> Frame {
    Frame::SynReply { stream, fin: false, headers: Headers::new() }
}

fn data(stream: u32, fin: bool, text: &'static str) -> Frame {
    Frame::Data { stream, fin, data: Bytes::from_static(text.as_bytes()) }
}

#[tokio::test]
async fn a_session_frame_by_frame() {
    let running = Running::start();
    let mut peer = Peer::connect(&running).await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        peer.open(stream, kind).await;
        peer.expect(reply(stream)).await;
    }
    peer.send(Frame::Ping(1)).await;
    peer.expect(Frame::Ping(1)).await;
    peer.send(Frame::Settings(vec![(4, 100)])).await;
    peer.send(Frame::WindowUpdate { stream: 3, delta: 1 }).await;
    peer.send(data(3, false, "hello")).await;
    peer.expect(data(5, false, "hello")).await;
    peer.send(data(3, true, "")).await;
    let (mut finished, mut status) = (Vec::new(), String::new());
    while finished.len() < 2 {
        match peer.next().await {
            Some(Frame::Data { stream, fin, data }) => {
                status.push_str(&String::from_utf8_lossy(&data));
                finished.extend(fin.then_some(stream));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((finished, status.as_str()), (vec![5, 1], r#"{"status":"Success"}"#));
    peer.send(Frame::GoAway { last_good: 0, status: 0 }).await;
    peer.io.shutdown().await.expect("shut");
    while let Some(frame) = peer.next().await {
        assert!(matches!(frame, Frame::GoAway { .. }), "{frame:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn wrong_streams_are_reset_and_the_session_goes_on() {
    let running = Running::start();
    let mut peer = Peer::connect(&running).await;
    let refused = |stream, status| Frame::Reset { stream, status };
    peer.open(7, "error").await;
    peer.expect(reply(7)).await;
    peer.open(2, "stdin").await;
    peer.expect(refused(2, reset::PROTOCOL_ERROR)).await;
    peer.open(5, "stdin").await;
    peer.expect(refused(5, reset::PROTOCOL_ERROR)).await;
    peer.open(9, "stdfoo").await;
    peer.expect(refused(9, reset::REFUSED_STREAM)).await;
    peer.open(11, "error").await;
    peer.expect(refused(11, reset::REFUSED_STREAM)).await;
    peer.open(13, "stderr").await;
    peer.expect(refused(13, reset::REFUSED_STREAM)).await;
    peer.open(15, "stdin").await;
    peer.expect(reply(15)).await;
    peer.open(17, "stdout").await;
    peer.expect(reply(17)).await;
    // The client gives its input up: for the command that is its end.
    peer.send(data(15, false, "x")).await;
    peer.send(Frame::Reset { stream: 15, status: reset::CANCEL }).await;
    peer.expect(data(17, false, "x")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_broken_peer_loses_its_connection_only() {
    let running = Running::start();
    for garbage in
        [&b"\x80\x02\x00\x01\x00\x00\x00\x00"[..], b"\x80\x03\x00\x01\x00\xff\xff\xff", &[0x80; 64]]
    {
        let mut peer = Peer::connect(&running).await;
        peer.io.write_all(garbage).await.expect("sent");
        assert_eq!(peer.next().await, None);
    }
    let mut peer = Peer::connect(&running).await;
    peer.open(1, "error").await;
    peer.expect(reply(1)).await;
    running.stop().await;
}
