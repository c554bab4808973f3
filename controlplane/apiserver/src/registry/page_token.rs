//! The opaque `continue` of a list: at which revision the list is read, and after which key it goes on.
//!
//! A token without a revision goes on with what is there when it is used: what a client gets for one whose revision is
//! gone.

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::Revision;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// Below zero: whatever is the latest.
    rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

const LATEST: i64 = -1;

/// Where a list goes on: behind `after`, a key below the kind's prefix.
pub fn encode(revision: Revision, after: &str) -> String {
    token(i64::try_from(revision.0).unwrap_or(LATEST), format!("{after}\0"))
}

/// The same place, at whatever revision there is then.
pub fn encode_latest(start: &str) -> String {
    token(LATEST, start.to_owned())
}

fn token(rv: i64, start: String) -> String {
    // Strings and numbers always encode.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Token { v: VERSION.into(), rv, start }).unwrap_or_default())
}

/// Revision (none: the latest) and first key of the next page.
pub fn decode(text: &str) -> Result<(Option<Revision>, String), Status> {
    let refused = |why: String| {
        Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refused(error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if token.v != VERSION {
        return Err(refused(format!("server does not recognize this encoded version {:?}", token.v)));
    }
    if token.start.is_empty() {
        return Err(refused("encoded start key empty".into()));
    }
    if token.rv == 0 {
        return Err(refused(format!("incorrect encoded start resourceVersion (version {VERSION})")));
    }
    Ok((u64::try_from(token.rv).ok().map(Revision), token.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_behind_its_key_and_nonsense_is_refused() {
        let start = "default/a\0".to_owned();
        assert_eq!(decode(&encode(Revision(7), "default/a")).unwrap(), (Some(Revision(7)), start.clone()));
        assert_eq!(decode(&encode_latest(&start)).unwrap(), (None, start));
        let written = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for nonsense in [
            "",
            "x",
            "e30",
            &written(r#"{"v":"v2","rv":1,"start":"a"}"#),
            &written(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
        ] {
            assert_eq!(decode(nonsense).unwrap_err().code, 400, "{nonsense:?}");
        }
    }
}
