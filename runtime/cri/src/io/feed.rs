//! Feeding what a client types to a process: through a pipe, or through its terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;

use super::terminal::Master;

/// Bytes moved at a time.
const PIECE: usize = 16 * 1024;

/// Where input goes.
pub enum Feed {
    Pipe(pipe::Sender),
    Terminal(Arc<Master>),
}

impl Feed {
    /// Input through the feeding end of a pipe or FIFO.
    pub fn pipe(feeder: OwnedFd) -> io::Result<Feed> {
        Ok(Feed::Pipe(pipe::Sender::from_owned_fd(feeder)?))
    }

    /// Moves input until the client ends it (`Ok`), the client is lost, or the process takes no more.
    pub async fn run(mut self, mut client: streaming::Reader) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = client.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            match &mut self {
                Feed::Pipe(pipe) => pipe.write_all(&buffer[..count]).await?,
                Feed::Terminal(master) => master.write_all(&buffer[..count]).await?,
            }
        }
    }
}
