//! Giving content to a registry: blobs in pieces, manifests whole.
//!
//! Reference: OCI distribution spec, "Pushing a blob in chunks", "Pushing Manifests".

use std::io::Read;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::client::{AskError, Repository, accept};
use crate::digest::Digest;

/// Bytes of one request: what a push holds in memory.
const PIECE: usize = 8 << 20;

// === impl Repository ===

impl Repository {
    /// Whether the registry has this blob.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, AskError> {
        let asked = self.tell(Method::HEAD, &format!("blobs/{digest}"), &[], Bytes::new()).await?;
        match accept(asked).await {
            Ok(_) => Ok(true),
            Err(AskError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a blob. `sent` is told of every piece that arrived.
    pub async fn give_blob(
        &self,
        digest: &Digest,
        mut content: impl Read + Send,
        sent: impl Fn(usize) + Send,
    ) -> Result<(), AskError> {
        let begun = self.tell(Method::POST, "blobs/uploads/", &[], Bytes::new()).await?;
        let mut place = place(expect(begun, StatusCode::ACCEPTED).await?)?;
        let mut at = 0u64;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = content.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let length = read.map_err(|error| AskError::Protocol(format!("reading the content: {error}")))?;
            if length == 0 {
                break;
            }
            let end = at + length as u64;
            let headers = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CONTENT_RANGE, format!("{at}-{}", end - 1)),
            ];
            let answer = self.tell(Method::PATCH, &place, &headers, piece.into()).await?;
            place = self::place(expect(answer, StatusCode::ACCEPTED).await?)?;
            at = end;
            sent(length);
        }
        let join = if place.contains('?') { '&' } else { '?' };
        let last = format!("{place}{join}digest={digest}");
        let ended = self.tell(Method::PUT, &last, &[], Bytes::new()).await?;
        expect(ended, StatusCode::CREATED).await.map(drop)
    }

    /// Puts a manifest under a tag or digest.
    pub async fn give_manifest(&self, name: &str, kind: &str, json: Bytes) -> Result<(), AskError> {
        let headers = [(CONTENT_TYPE, kind.to_owned())];
        let answer = self.tell(Method::PUT, &format!("manifests/{name}"), &headers, json).await?;
        expect(answer, StatusCode::CREATED).await.map(drop)
    }
}

async fn expect(response: Response<Incoming>, status: StatusCode) -> Result<Response<Incoming>, AskError> {
    if response.status() == status {
        return Ok(response);
    }
    let response = accept(response).await?;
    Err(AskError::Protocol(format!("status {} where {status} was wanted", response.status())))
}

/// Where the next piece goes.
fn place(response: Response<Incoming>) -> Result<String, AskError> {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    location.map(str::to_owned).ok_or_else(|| AskError::Protocol("an upload without a place".to_owned()))
}
