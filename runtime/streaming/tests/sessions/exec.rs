//! Exec in every protocol: input and its end, both outputs, sizes, exit codes, failures.

use keelson_streaming::remotecommand::status::Outcome;
use keelson_streaming::{ExecRequest, Request, Streams, TerminalSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{PROTOCOLS, Running, text, within};

pub fn exec(command: &str, streams: Streams) -> Request {
    Request::Exec(ExecRequest {
        container: "c".into(),
        command: command.split(' ').map(String::from).collect(),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    })
}

pub const OUTPUT: Streams = Streams { tty: false, stdin: false, stdout: true, stderr: true };
pub const INPUT: Streams = Streams { tty: false, stdin: true, stdout: true, stderr: false };
const TERMINAL: Streams = Streams { tty: true, stdin: true, stdout: true, stderr: false };

/// Whether the protocol tells exit codes.
fn tells_codes(protocol: &str) -> bool {
    protocol.starts_with("v4") || protocol.starts_with("v5")
}

#[tokio::test]
async fn outputs_are_kept_apart_and_success_is_told() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        let mut session = running.session(exec("both", OUTPUT), OUTPUT, protocol).await;
        let (stdout, stderr) = (session.stdout.take().expect("out"), session.stderr.take().expect("err"));
        let outcome = tokio::spawn(session.outcome());
        assert_eq!((text(stdout).await.as_str(), text(stderr).await.as_str()), ("to stdout", "to stderr"));
        assert_eq!(
            within(outcome).await.expect("no panic").expect("an outcome"),
            Outcome::Exited(0),
            "{protocol:?}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn exit_codes_and_failures_are_told() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        let session = running.session(exec("exit 3", OUTPUT), OUTPUT, protocol).await;
        let expect = if tells_codes(protocol.0) {
            Outcome::Exited(3)
        } else {
            Outcome::Failed("command terminated with non-zero exit code: exit code 3".into())
        };
        assert_eq!(within(session.outcome()).await.expect("an outcome"), expect, "{protocol:?}");

        let session = running.session(exec("nonsense", OUTPUT), OUTPUT, protocol).await;
        let text = "Internal error occurred: error executing command in container: no such command: nonsense";
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Failed(text.into()));
    }
    running.stop().await;
}

#[tokio::test]
async fn input_comes_back_and_its_end_ends_the_command() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        let mut session = running.session(exec("cat", INPUT), INPUT, protocol).await;
        let (mut stdin, mut stdout) =
            (session.stdin.take().expect("in"), session.stdout.take().expect("out"));
        stdin.write_all(b"hello ").await.expect("written");
        let mut echo = [0; 6];
        within(stdout.read_exact(&mut echo)).await.expect("an echo");
        stdin.write_all(b"world").await.expect("written");
        let half_closes = !protocol.1 || protocol.0.starts_with("v5");
        if !half_closes {
            within(stdout.read_exact(&mut echo[..5])).await.expect("an echo");
            assert_eq!(&echo[..5], b"world");
            continue;
        }
        drop(stdin);
        let outcome = tokio::spawn(session.outcome());
        assert_eq!(text(stdout).await, "world", "{protocol:?}");
        assert_eq!(within(outcome).await.expect("no panic").expect("an outcome"), Outcome::Exited(0));
    }
    running.stop().await;
}

#[tokio::test]
async fn terminals_tell_their_size() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        if !protocol.1 && !protocol.0.starts_with("v4") && !protocol.0.starts_with("v3") {
            continue;
        }
        let mut session = running.session(exec("size", TERMINAL), TERMINAL, protocol).await;
        session.resize(TerminalSize { width: 132, height: 50 }).await.expect("told");
        let stdout = session.stdout.take().expect("out");
        assert_eq!(text(stdout).await, "132x50", "{protocol:?}");
        assert_eq!(within(session.outcome()).await.expect("an outcome"), Outcome::Exited(0));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    let running = Running::start();
    for &protocol in PROTOCOLS {
        let mut session = running.session(exec("deaf", INPUT), INPUT, protocol).await;
        let (mut stdin, stdout) = (session.stdin.take().expect("in"), session.stdout.take().expect("out"));
        let feeding = tokio::spawn(async move {
            let block = vec![0; 64 * 1024];
            for _ in 0..64 {
                if stdin.write_all(&block).await.is_err() {
                    break;
                }
            }
        });
        assert_eq!(text(stdout).await, "not listening", "{protocol:?}");
        let outcome = within(session.outcome()).await.expect("an outcome");
        assert!(!tells_codes(protocol.0) || outcome == Outcome::Exited(7), "{protocol:?} {outcome:?}");
        within(feeding).await.expect("no panic");
    }
    running.stop().await;
}
