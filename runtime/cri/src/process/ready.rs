//! Readiness of descriptors in the asynchronous runtime.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers an object whose descriptor is its own and stays the same as long as it lives: a pidfd, a
/// pipe, a socket in a type of ours.
pub fn register<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // Deprecated for types whose descriptor changes under the registration; its successor is `unsafe`
    // and says the same.
    #[allow(deprecated)]
    AsyncFd::with_interest(inner, interest)
}
