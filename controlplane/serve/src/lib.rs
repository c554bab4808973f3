//! The HTTPS shell: accept, TLS, limits, drain. What a request means is its handler's business.
//!
//! ```text
//!   accept ─► handshake (bounded in time) ─► HTTP/1.1 or HTTP/2 ─► handler(ConnInfo, request)
//! ```
//!
//! **Invariants**
//! - A client certificate is asked for and its holder must prove to have the key; whether it is *trusted* is the
//!   authenticator's decision, so that an expired one is answered with 401 and not with a broken connection.
//! - Every wait for a client has a bound; so has the count of connections.
//! - A client that is refused while it sends reads the refusal, not a reset connection.
//! - There is no plaintext port but for health ([`HealthListener`]).
//!
//! Reference: RFC 8446 4.3.2 (CertificateRequest), RFC 9113 (HTTP/2); limits as in Go's net/http where
//! Kubernetes clients rely on them.

mod anybody;
mod connection;
mod health;
mod linger;
mod listener;
pub mod prometheus;
mod tls;

pub use anybody::Anybody;
pub use connection::{ConnInfo, Limits};
pub use health::{HealthListener, Report};
pub use listener::{BodyError, Handler, ListenError, Listener};
pub use tls::{ServerIdentity, TlsError, server_config};
