//! Requests that wait for their client, each under a token that is good once and for a minute.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use crate::entropy;
use crate::request::{Request, RequestError};

/// How long a token is good.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// The most tokens that wait.
pub const MAX_IN_FLIGHT: usize = 1000;
/// 128 bits.
const TOKEN_BYTES: usize = 16;

/// The table.
#[derive(Default)]
pub struct Tokens {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    requests: HashMap<String, Request>,
    /// Oldest first; may name tokens that have been taken.
    ages: VecDeque<(Instant, String)>,
}

// === impl Tokens ===

impl Tokens {
    pub fn insert(&self, request: Request) -> Result<String, RequestError> {
        let bytes = entropy::bytes::<TOKEN_BYTES>().map_err(RequestError::Entropy)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let now = Instant::now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(now);
        if table.requests.len() >= MAX_IN_FLIGHT {
            return Err(RequestError::TooManyInFlight);
        }
        table.requests.insert(token.clone(), request);
        table.ages.push_back((now, token.clone()));
        Ok(token)
    }

    /// The request of that token, for the first who asks.
    pub fn take(&self, token: &str) -> Option<Request> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(Instant::now());
        table.requests.remove(token)
    }
}

// === impl Table ===

impl Table {
    /// Drops what is too old, and what has been taken, from the front.
    fn expire(&mut self, now: Instant) {
        while let Some((born, token)) = self.ages.front() {
            let old = now.duration_since(*born) > TOKEN_LIFETIME;
            if !old && self.requests.contains_key(token) {
                break;
            }
            self.requests.remove(token);
            self.ages.pop_front();
        }
        if self.ages.len() > 2 * MAX_IN_FLIGHT {
            let requests = &self.requests;
            self.ages.retain(|(_, token)| requests.contains_key(token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ExecRequest;

    fn request(container: &str) -> Request {
        Request::Exec(ExecRequest { container: container.into(), stdout: true, ..Default::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_once_and_for_a_minute() {
        let tokens = Tokens::default();
        let (a, b) = (tokens.insert(request("a")).expect("room"), tokens.insert(request("b")).expect("room"));
        assert_eq!((a.len(), a == b), (22, false));
        assert_eq!(tokens.take(&a), Some(request("a")));
        assert_eq!(tokens.take(&a), None);
        tokio::time::advance(TOKEN_LIFETIME + Duration::from_secs(1)).await;
        assert_eq!(tokens.take(&b), None);
        assert_eq!(tokens.take(""), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_recovers() {
        let tokens = Tokens::default();
        let first = tokens.insert(request("first")).expect("room");
        for _ in 1..MAX_IN_FLIGHT {
            tokens.insert(request("c")).expect("room");
        }
        assert!(matches!(tokens.insert(request("c")), Err(RequestError::TooManyInFlight)));
        assert!(tokens.take(&first).is_some());
        assert!(tokens.insert(request("c")).is_ok());
        assert!(matches!(tokens.insert(request("c")), Err(RequestError::TooManyInFlight)));
        tokio::time::advance(TOKEN_LIFETIME + Duration::from_secs(1)).await;
        for _ in 0..10 * MAX_IN_FLIGHT {
            let token = tokens.insert(request("c")).expect("room");
            tokens.take(&token);
        }
        let table = tokens.table.lock().expect("no panic");
        assert!(table.requests.is_empty() && table.ages.len() <= 1, "{}", table.ages.len());
    }
}
