//! Clients that begin and do not go on. Time is simulated.

use std::sync::Arc;
use std::time::Duration;

use keelson_streaming::remotecommand::Protocol;
use keelson_streaming::remotecommand::accept::{self, AcceptError};
use keelson_streaming::spdy::{Connection, Headers, Role};
use keelson_streaming::{Streams, portforward};
use tokio::time::Instant;

use crate::backend::Fake;

const IDLE: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn streams_that_do_not_come_end_the_session() {
    let (server, client) = tokio::io::duplex(4096);
    let client = Connection::new(client, Role::Client, None);
    let opener = client.opener();
    let opened = tokio::spawn(async move { opener.open(Headers::new().with("streamType", "error")).await });
    let streams = Streams { stdout: true, ..Streams::default() };
    let start = Instant::now();
    let result = accept::spdy(server, Protocol::named("v4.channel.k8s.io"), streams, IDLE).await;
    let error = result.err().expect("no session");
    assert!(matches!(error, AcceptError::TimedOut), "{error}");
    assert_eq!(error.to_string(), "timed out waiting for client to create streams");
    assert_eq!(start.elapsed().as_secs(), 30);
    assert!(opened.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_is_told_so() {
    let (server, client) = tokio::io::duplex(4096);
    let serving = tokio::spawn(portforward::serve_spdy(server, Arc::new(Fake::default()), "s".into(), IDLE));
    let client = Connection::new(client, Role::Client, None);
    let headers = Headers::new().with("streamType", "error").with("port", "80").with("requestID", "5");
    let error = client.opener().open(headers).await.expect("a stream");
    let start = Instant::now();
    // Well within the time that tests allow, as nothing else happens meanwhile.
    let (reader, _writer) = error.split();
    let reading = tokio::spawn(tokio::time::timeout(Duration::from_secs(60), text_of(reader)));
    let said = reading.await.expect("no panic").expect("in time");
    assert_eq!(said, "(request=5) timed out waiting for streams");
    assert_eq!(start.elapsed().as_secs(), 30);
    client.close().await;
    serving.await.expect("no panic");
}

async fn text_of(mut reader: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut text).await.expect("readable");
    text
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_accepts_times_out() {
    let (_server, client) = tokio::io::duplex(4096);
    let client = Connection::new(client, Role::Client, None);
    let error = client.opener().open(Headers::new()).await.err().expect("no stream");
    assert!(error.to_string().contains("within 30s"), "{error}");
}
