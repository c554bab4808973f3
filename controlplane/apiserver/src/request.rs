//! One request, understood: who asks what of which resource, and in which form the answer goes back.

use std::sync::{Arc, Mutex, PoisonError};

use api::path::{Query, RequestInfo};
use http::HeaderMap;

use crate::answer::Form;
use crate::audit::Trail;
use crate::user::User;

/// A request after authentication, before its body is read.
#[derive(Clone, Debug)]
pub struct Request {
    /// Verb, resource, names.
    pub info: RequestInfo,
    /// The query.
    pub query: Query,
    /// Headers, for content negotiation and upgrades.
    pub headers: HeaderMap,
    /// Who asks, after impersonation.
    pub user: User,
    /// How the answer is encoded.
    pub form: Form,
    /// When it came.
    pub now: jiff::Timestamp,
    /// Sentences for the client's user, whatever the answer is.
    pub warnings: Warnings,
    /// What the audit is told.
    pub trail: Trail,
    /// Which request it is.
    pub mark: Mark,
}

/// Tells a request from all others for as long as a clone of its mark is kept.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<()>);

impl PartialEq for Mark {
    fn eq(&self, other: &Mark) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Sentences that gather while a request is worked on; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

/// More sentences than this are of no use to anybody.
const MOST_WARNINGS: usize = 64;

impl Warnings {
    /// The sentences so far, which are then forgotten.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Request {
    /// Says something to the client's user, once.
    pub fn warn(&self, sentence: String) {
        let mut sentences = self.warnings.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sentences.len() < MOST_WARNINGS && !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
}
