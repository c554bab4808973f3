//! A terminal's master in the asynchronous runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::process::ready;

struct Shared(Arc<OwnedFd>);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A master, read and written without blocking.
pub struct Master(AsyncFd<Shared>);

impl Master {
    /// Takes part in a master that others may hold too.
    pub fn new(master: Arc<OwnedFd>) -> io::Result<Master> {
        rustix::io::ioctl_fionbio(&master, true)?;
        // A number of its own: one open description may be registered once per number only.
        let own = Arc::new(master.try_clone()?);
        Ok(Master(ready::register(Shared(own), Interest::READABLE | Interest::WRITABLE)?))
    }

    /// Reads; 0 when nobody is on the other side any more.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.async_io(Interest::READABLE, |shared| {
            rustix::io::read(shared.0.as_fd(), &mut *buffer).map_err(io::Error::from)
        });
        match read.await {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            read => read,
        }
    }

    /// Writes everything.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.0.async_io(Interest::WRITABLE, |shared| {
                rustix::io::write(shared.0.as_fd(), bytes).map_err(io::Error::from)
            });
            bytes = &bytes[written.await?..];
        }
        Ok(())
    }

    /// Sets its size in characters.
    pub fn resize(&self, width: u16, height: u16) -> io::Result<()> {
        sys::pty::set_size(self.0.get_ref().0.as_fd(), width, height).map_err(io::Error::from)
    }
}
