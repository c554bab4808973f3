//! One blob as a stream of pieces. A cut connection goes on where it stopped, at the same host or the
//! next one; whoever reads the pieces checks the digest over all of them.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc::Sender;

use super::client::{Ask, AskError, BODY_SILENCE, Repository};
use crate::digest::Digest;

/// Tries in a row at one host that bring less than [`PROGRESS`].
const TRIES_MAX: u32 = 4;
/// Less than this is not worth another try without counting it.
const PROGRESS: u64 = 256 << 10;
/// Requests for one blob in all.
const REQUESTS_MAX: u32 = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A transfer that ended: every byte was handed over, or the reader went away.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    /// The host that sent the first bytes. Others may have gone on: when the whole is wrong, this one can be why.
    pub from: usize,
}

/// Why a blob could not be read to its end: what each host said.
#[derive(Debug)]
pub struct BlobError {
    pub attempts: Vec<(String, AskError)>,
}

// === impl Repository ===

impl Repository {
    /// Hands the bytes of a blob to `pieces`, in order and each once. Hosts before `first` are not asked:
    /// they sent something else.
    pub async fn send_blob(
        &self,
        first: usize,
        digest: &Digest,
        size: u64,
        pieces: &Sender<Bytes>,
    ) -> Result<Sent, BlobError> {
        let mut attempts = Vec::new();
        let (mut at, mut from) = (0, first);
        let mut requests = 0;
        for (index, host) in self.hosts().iter().enumerate().skip(first).filter(|(_, host)| host.pulls) {
            let (mut tries, mut pause) = (0, FIRST_PAUSE);
            while tries < TRIES_MAX && requests < REQUESTS_MAX {
                let before = at;
                if at == 0 {
                    from = index;
                }
                requests += 1;
                let error = match self.send_part(index, digest, size, &mut at, pieces).await {
                    Ok(()) => return Ok(Sent { from }),
                    Err(error) => error,
                };
                let lasting = matches!(error, AskError::NotFound | AskError::Denied(_));
                tracing::debug!(host = host.authority(), %digest, at, size, %error, "a blob transfer was cut");
                attempts.push((host.authority(), error));
                if lasting {
                    break;
                }
                if at - before >= PROGRESS {
                    (tries, pause) = (0, FIRST_PAUSE);
                } else {
                    tries += 1;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Err(BlobError { attempts })
    }

    /// From `at` to the end or the cut, or until nobody reads any more.
    async fn send_part(
        &self,
        host: usize,
        digest: &Digest,
        size: u64,
        at: &mut u64,
        pieces: &Sender<Bytes>,
    ) -> Result<(), AskError> {
        let what = format!("blobs/{digest}");
        let ask = Ask { what: &what, accept: "*/*", from: *at };
        let response = match self.ask(host, ask).await {
            // Some servers without ranges say so in this way.
            Err(AskError::Status { status: StatusCode::RANGE_NOT_SATISFIABLE, .. }) if *at > 0 => {
                self.ask(host, Ask { from: 0, ..ask }).await?
            }
            answer => answer?,
        };
        let mut skip = match (response.status(), *at) {
            (_, 0) => 0,
            (StatusCode::PARTIAL_CONTENT, from) => {
                let range =
                    response.headers().get(CONTENT_RANGE).and_then(|r| r.to_str().ok()).unwrap_or_default();
                if !range.starts_with(&format!("bytes {from}-")) {
                    return Err(AskError::Protocol(format!("wanted bytes from {from}, got {range:?}")));
                }
                0
            }
            // No ranges here: read what is known already once more.
            (_, from) => from,
        };
        let mut body = response.into_body();
        loop {
            let frame = tokio::time::timeout(BODY_SILENCE, body.frame()).await;
            let frame = frame.map_err(|_| AskError::Protocol("the transfer stood still".to_owned()))?;
            let Some(frame) = frame else { break };
            let frame =
                frame.map_err(|error| AskError::Protocol(format!("the transfer was cut: {error}")))?;
            let Ok(mut piece) = frame.into_data() else { continue };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            drop(piece.split_to(skipped));
            skip -= skipped as u64;
            if piece.is_empty() {
                continue;
            }
            *at += piece.len() as u64;
            if pieces.send(piece).await.is_err() {
                return Ok(());
            }
        }
        if *at >= size { Ok(()) } else { Err(AskError::Protocol(format!("only {at} of {size} bytes came"))) }
    }
}
