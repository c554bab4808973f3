//! `keelson demo-workload`: what runs in the demonstration's pods. Without arguments a web server that says which
//! pod it is; with `--call NAME:PORT` its client, which leaves what it heard as its termination message.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use hickory_resolver::TokioResolver;
use serve::{HealthListener, Report};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::stopping::stop_on_signals;

/// Where the web server listens.
pub const PORT: u16 = 8080;
/// What every answer begins with; the pod's name follows.
const GREETING: &str = "hello from ";
/// The longest answer.
const ANSWER_BYTES: u64 = 4096;
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Names and ways follow a pod that is available within moments: so long all calls of the demonstration may fail.
pub const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FIRST_ANSWER_PAUSE: Duration = Duration::from_millis(20);
/// Calls of each kind, to show how they are shared out.
pub const CALLS: u32 = 24;
/// Each call goes to a pod at random, so one of four is left out of 24 calls every 250 times: calls go on until all have
/// answered. After so many for each of them a pod that works has been missed once in 10^21 times.
const CALLS_PER_POD: u32 = 50;
/// Where Kubernetes looks for a container's last words.
const LAST_WORDS: &str = "/dev/termination-log";

#[derive(Debug, Parser)]
struct Options {
    /// Call this instead of serving: `name:port`.
    #[arg(long)]
    call: Option<String>,
    /// Calls at least.
    #[arg(long, default_value_t = CALLS)]
    times: u32,
    /// How many pods should answer: calls go on until they have.
    #[arg(long, default_value_t = 1)]
    pods: u32,
    /// How many seconds calls may fail until the first answer; after that, and without this, a failure is the end.
    #[arg(long, default_value_t = 0)]
    first_answer_within: u64,
}

/// How many calls each pod answered.
pub type Tally = BTreeMap<String, u32>;

/// Runs as the pod's program.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = Options::parse_from(arguments);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("starting: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match &options.call {
            None => serve().await,
            Some(target) => call(target, &options).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = format!("{error:#}");
            eprintln!("{told}");
            // The log has it too.
            let _unwritten = std::fs::write(LAST_WORDS, told);
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let pod = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let listener = HealthListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))).await?;
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), false)?;
    println!("serving on {}", listener.address);
    listener.serve(move |_| Report::text(200, format!("{GREETING}{pod}\n")), stopping).await;
    signals.abort();
    Ok(())
}

async fn call(target: &str, options: &Options) -> anyhow::Result<()> {
    let (name, port) = target.rsplit_once(':').context("--call: NAME:PORT is wanted")?;
    let port: u16 = port.parse().context("--call: NAME:PORT is wanted")?;
    let resolver = TokioResolver::builder_tokio()?.build()?;
    let patience = Duration::from_secs(options.first_answer_within);
    let tally = tally_of(options.times, options.pods, patience, async || {
        let found = resolver.lookup_ip(name).await.with_context(|| format!("resolving {name}"))?;
        let address = found.iter().next().with_context(|| format!("{name} has no address"))?;
        let answer =
            get(SocketAddr::new(address, port)).await.with_context(|| format!("calling {target}"))?;
        who(&answer)
    })
    .await?;
    let told = serde_json::to_string(&tally)?;
    println!("{told}");
    std::fs::write(LAST_WORDS, told).with_context(|| format!("writing {LAST_WORDS}"))
}

/// Calls `times` times, and on until `pods` pods have answered; gives up where one never does. Until the first answer calls may
/// fail, for so long.
pub async fn tally_of(
    times: u32,
    pods: u32,
    patience: Duration,
    mut call: impl AsyncFnMut() -> anyhow::Result<String>,
) -> anyhow::Result<Tally> {
    let most = times.max(pods.saturating_mul(CALLS_PER_POD));
    let begun = Instant::now();
    let mut first = call().await;
    while first.is_err() && begun.elapsed() < patience {
        tokio::time::sleep(FIRST_ANSWER_PAUSE).await;
        first = call().await;
    }
    let mut tally = Tally::from([(first?, 1)]);
    for calls in 1..most {
        if calls >= times && tally.len() >= pods as usize {
            break;
        }
        *tally.entry(call().await?).or_default() += 1;
    }
    Ok(tally)
}

/// One request on a connection of its own; the answer, head and body.
pub async fn get(address: SocketAddr) -> io::Result<String> {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(CALL_LIMIT, conversation).await?
}

/// The pod that an answer names.
pub fn who(answer: &str) -> anyhow::Result<String> {
    match answer.rsplit_once(GREETING) {
        Some((head, pod)) if head.starts_with("HTTP/1.1 200 ") => Ok(pod.trim().to_owned()),
        _ => bail!("an unexpected answer: {answer:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_their_pod() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nhello from web-1\n";
        assert_eq!(who(answer).unwrap(), "web-1");
        assert!(who("HTTP/1.1 503 Service Unavailable\r\n\r\nhello from x").is_err());
        assert!(who("").is_err());
    }

    #[tokio::test]
    async fn calls_go_on_until_all_have_answered() {
        // The second pod is chosen late.
        let late = async |first: u32| {
            let mut calls = 0;
            let tally = tally_of(24, 2, Duration::ZERO, async || {
                calls += 1;
                Ok(if calls < first { "web-1" } else { "web-2" }.to_owned())
            });
            tally.await.unwrap()
        };
        assert_eq!(late(20).await, Tally::from([("web-1".to_owned(), 19), ("web-2".to_owned(), 5)]));
        assert_eq!(late(40).await, Tally::from([("web-1".to_owned(), 39), ("web-2".to_owned(), 1)]));
        assert_eq!(late(1000).await, Tally::from([("web-1".to_owned(), 2 * CALLS_PER_POD)]));
    }

    #[tokio::test]
    async fn only_the_first_answer_is_waited_for() {
        let answers = async |patience: u64, failures: &[u32]| {
            let mut calls = 0;
            let tally = tally_of(3, 1, Duration::from_secs(patience), async || {
                calls += 1;
                if failures.contains(&calls) { bail!("call {calls} failed") } else { Ok("web".to_owned()) }
            });
            tally.await.map_err(|error| error.to_string())
        };
        assert_eq!(answers(60, &[1, 2]).await, Ok(Tally::from([("web".to_owned(), 3)])));
        assert_eq!(answers(60, &[2]).await, Err("call 2 failed".to_owned()));
        assert_eq!(answers(0, &[1]).await, Err("call 1 failed".to_owned()));
    }
}
