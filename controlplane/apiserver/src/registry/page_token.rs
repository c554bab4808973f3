//! The opaque `continue` of a list: at which revision the list is read, and after which key it goes on.

use api::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::Revision;

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: u64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on: behind `after`, a key below the kind's prefix.
pub fn encode(revision: Revision, after: &str) -> String {
    let token = Token { v: VERSION.into(), rv: revision.0, start: format!("{after}\0") };
    // Strings and numbers always encode.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// Revision and first key of the next page.
pub fn decode(text: &str) -> Result<(Revision, String), Status> {
    let refused = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refused(error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if token.v != VERSION {
        return Err(refused(format!("server does not recognize this encoded version {:?}", token.v)));
    }
    if token.start.is_empty() {
        return Err(refused("encoded start key empty".into()));
    }
    Ok((Revision(token.rv), token.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_behind_its_key_and_nonsense_is_refused() {
        assert_eq!(decode(&encode(Revision(7), "default/a")).unwrap(), (Revision(7), "default/a\0".into()));
        for nonsense in ["", "x", "e30", &URL_SAFE_NO_PAD.encode(r#"{"v":"v2","rv":1,"start":"a"}"#)] {
            assert_eq!(decode(nonsense).unwrap_err().code, 400, "{nonsense:?}");
        }
    }
}
