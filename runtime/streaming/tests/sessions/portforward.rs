//! Port forwarding over SPDY, SPDY inside WebSocket, and channels.

use keelson_streaming::client;
use keelson_streaming::client::portforward::{self, PortForward};
use keelson_streaming::websocket::{Codec, Role, Wiring};
use keelson_streaming::{PortForwardRequest, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Running, text, within};

fn forward(ports: &[u16]) -> Request {
    Request::PortForward(PortForwardRequest { sandbox: "s".into(), ports: ports.into() })
}

async fn both(running: &Running) -> [PortForward; 2] {
    let spdy = portforward::spdy(running.dial().await, &running.url(forward(&[]))).await.expect("spdy");
    let tunnel =
        portforward::tunnel(running.dial().await, &running.url(forward(&[]))).await.expect("a tunnel");
    [spdy, tunnel]
}

#[tokio::test]
async fn connections_are_carried_side_by_side() {
    let running = Running::start();
    for session in both(&running).await {
        let mut open = Vec::new();
        for n in 0..20u8 {
            let (mut data, failure) = session.open(7).await.expect("a connection");
            data.write_all(&[n; 1000]).await.expect("written");
            open.push((n, data, failure));
        }
        for (n, mut data, failure) in open {
            data.shutdown().await.expect("shut");
            let mut echo = Vec::new();
            within(data.read_to_end(&mut echo)).await.expect("an echo");
            assert_eq!(echo, [n; 1000]);
            assert_eq!(within(failure.text()).await, None);
        }
        let (data, failure) = session.open(13).await.expect("a connection");
        assert_eq!(text(data).await, "daytime");
        assert_eq!(within(failure.text()).await, None);
        within(session.close()).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn large_transfers_keep_their_bytes() {
    let running = Running::start();
    for session in both(&running).await {
        let (data, failure) = session.open(7).await.expect("a connection");
        let sent: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(data);
        let copy = sent.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&copy).await.expect("written");
            writer.shutdown().await.expect("shut");
        });
        let mut echo = Vec::new();
        within(reader.read_to_end(&mut echo)).await.expect("an echo");
        assert!(echo == sent);
        sending.await.expect("no panic");
        assert_eq!(within(failure.text()).await, None);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_refused_port_is_told_and_hurts_no_other() {
    let running = Running::start();
    for session in both(&running).await {
        let (_data, failure) = session.open(9).await.expect("a connection");
        let expect = "error forwarding port 9 to pod s, uid : dial tcp4 127.0.0.1:9: connection refused";
        assert_eq!(within(failure.text()).await.as_deref(), Some(expect));
        let (data, _) = session.open(13).await.expect("a connection");
        assert_eq!(text(data).await, "daytime");
    }
    assert!(running.fake.seen().contains(&"s:13".to_string()));
    running.stop().await;
}

#[tokio::test]
async fn channels_begin_with_their_port() {
    let running = Running::start();
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let url = running.url(forward(&[7, 9]));
        let (io, chosen) =
            client::websocket(running.dial().await, &url, &[protocol]).await.expect("a session");
        let mut wiring = Wiring::new(Codec { base64: chosen.contains("base64"), close_signal: false });
        let mut readers: Vec<_> = (0..4).map(|channel| wiring.reader(channel)).collect();
        let mut data = wiring.writer(0);
        let channels = wiring.start(io, Role::Client, None).await;
        for (reader, port) in readers.iter_mut().zip([7u8, 7, 9, 9]) {
            let mut first = [0; 2];
            within(reader.read_exact(&mut first)).await.expect("a port");
            assert_eq!(first, [port, 0]);
        }
        data.write_all(b"ping").await.expect("written");
        let mut echo = [0; 4];
        within(readers[0].read_exact(&mut echo)).await.expect("an echo");
        assert_eq!(&echo, b"ping");
        let expect = "error forwarding port 9 to pod s, uid : dial tcp4 127.0.0.1:9: connection refused";
        let mut refusal = vec![0; expect.len()];
        within(readers[3].read_exact(&mut refusal)).await.expect("a refusal");
        assert_eq!(String::from_utf8_lossy(&refusal), expect);
        within(channels.close()).await;
    }
    running.stop().await;
}
