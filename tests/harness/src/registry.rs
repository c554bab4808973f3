//! Registries on loopback.
//!
//! - [`debian`]: Debian's docker-registry with none, basic or bearer-token login; [`Debian::push`] fills it.
//! - [`fake::Fake`]: a registry of our own that fails as it is told and writes down what it was asked.

mod debian;
pub mod fake;
mod http;
mod token;

pub use debian::{Debian, Login, debian};
pub use http::Message;
