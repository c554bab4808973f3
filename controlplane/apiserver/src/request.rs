//! One request, understood: who asks what of which resource, and in which form the answer goes back.

use api::path::{Query, RequestInfo};
use http::HeaderMap;

use crate::answer::Form;
use crate::user::User;

/// A request after authentication, before its body is read.
#[derive(Debug)]
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
}
