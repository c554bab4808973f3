//! Slow readers, abrupt ends, idle sessions: nothing grows, nothing stays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_streaming::remotecommand::status::Outcome;
use keelson_streaming::{ServerOptions, Streams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::exec::{INPUT, exec};
use crate::{PROTOCOLS, Running, within};

const OUT: Streams = Streams { tty: false, stdin: false, stdout: true, stderr: false };
/// Much more than all buffers on the way together.
const FLOOD: u64 = 64 * 1024 * 1024;
/// What socket buffers and queues may hold while nobody reads.
const HELD: u64 = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_slows_the_command_and_gets_every_byte() {
    for protocol in [PROTOCOLS[0], PROTOCOLS[4], PROTOCOLS[6]] {
        let running = Running::start();
        let mut session = running.session(exec(&format!("flood {FLOOD}"), OUT), OUT, protocol).await;
        let mut stdout = session.stdout.take().expect("out");
        let mut before = u64::MAX;
        while running.fake.written.load(Ordering::Relaxed) != before {
            before = running.fake.written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(before < HELD, "{protocol:?}: {before} bytes were taken while nobody read");
        let (mut total, mut block) = (0, vec![0; 64 * 1024]);
        loop {
            match within(stdout.read(&mut block)).await.expect("readable") {
                0 => break,
                n => total += n as u64,
            }
        }
        assert_eq!(total, FLOOD, "{protocol:?}");
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Exited(0));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_slow_to_read_slows_the_client() {
    for protocol in [PROTOCOLS[0], PROTOCOLS[4], PROTOCOLS[6]] {
        let running = Running::start();
        let mut session = running.session(exec("hang", INPUT), INPUT, protocol).await;
        let mut stdin = session.stdin.take().expect("in");
        let (block, mut taken) = (vec![0; 64 * 1024], 0);
        while let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(300), stdin.write(&block)).await {
            taken += n as u64;
            assert!(taken < HELD, "{protocol:?}: {taken} bytes were taken and nobody reads");
        }
        assert!(taken > 0);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    for &protocol in PROTOCOLS {
        let running = Running::start();
        let session = running.session(exec("hang", INPUT), INPUT, protocol).await;
        drop(session);
        within(async {
            while running.fake.seen().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(running.fake.seen(), ["hung up, stdin Err(ConnectionAborted)"], "{protocol:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn an_idle_session_ends() {
    for protocol in [PROTOCOLS[0], PROTOCOLS[4]] {
        let running = Running::start_with(ServerOptions { idle_timeout: Duration::from_secs(2) });
        let mut session = running.session(exec("hang", INPUT), INPUT, protocol).await;
        let end = within(session.stdout.take().expect("out").read(&mut [0; 8])).await;
        assert!(!matches!(end, Ok(1..)), "{protocol:?} {end:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn shutdown_ends_open_sessions() {
    let running = Running::start();
    let mut session = running.session(exec("cat", INPUT), INPUT, PROTOCOLS[0]).await;
    let mut stdout = session.stdout.take().expect("out");
    let before = std::time::Instant::now();
    running.stop().await;
    assert!(before.elapsed() < Duration::from_secs(60));
    assert!(!matches!(within(stdout.read(&mut [0; 8])).await, Ok(1..)));
}
