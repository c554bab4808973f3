//! Attach: the same streams, another backend call, a status of its own.

use keelson_streaming::remotecommand::status::Outcome;
use keelson_streaming::{AttachRequest, Request};
use tokio::io::AsyncWriteExt;

use crate::exec::INPUT;
use crate::{PROTOCOLS, Running, text, within};

fn attach(container: &str) -> Request {
    Request::Attach(AttachRequest {
        container: container.into(),
        tty: false,
        stdin: true,
        stdout: true,
        stderr: false,
    })
}

#[tokio::test]
async fn attach_joins_and_leaves() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        let mut session = running.session(attach("gone"), INPUT, protocol).await;
        let text_of = "Internal error occurred: error attaching to container: container gone not found";
        drop(session.stdout.take());
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Failed(text_of.into()));
        if protocol.1 && !protocol.0.starts_with("v5") {
            continue;
        }
        let mut session = running.session(attach("c"), INPUT, protocol).await;
        let mut stdin = session.stdin.take().expect("in");
        stdin.write_all(b"typed").await.expect("written");
        drop(stdin);
        assert_eq!(text(session.stdout.take().expect("out")).await, "typed", "{protocol:?}");
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Exited(0));
    }
    running.stop().await;
}
