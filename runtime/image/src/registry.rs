//! Talking to registries: which hosts, over which connection, as whom.
//!
//! ```text
//! hosts.rs     certs.d -> hosts in the order they are asked
//! tls.rs       trust per host
//! connect.rs   host -> connection         auth.rs  challenge -> Authorization
//! client.rs    one request: redirects, log-in
//! blob.rs      one blob as a stream that goes on after a cut, from any host
//! upload.rs    blobs and manifests the other way
//! ```
//!
//! Written on hyper rather than taken from a registry client: hosts in order with their own trust,
//! headers and path, `?ns=`, and names resolved without the C library are not to be had otherwise.
//!
//! **Invariants.** A host sees only its own credentials. Plain HTTP only where a hosts file says so and
//! for loopback addresses. Nothing is read without a bound.
//!
//! Reference: OCI distribution spec; containerd's hosts.toml documentation; RFC 9110.

pub mod auth;
pub mod blob;
pub mod client;
pub mod connect;
pub mod hosts;
pub mod manifest;
pub mod tls;
pub mod upload;
