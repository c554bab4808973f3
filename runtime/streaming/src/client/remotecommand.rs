//! A client's exec or attach session, over SPDY or WebSocket.
//!
//! All output has to be read, stdout and stderr at the same time: what waits on one stream holds up the
//! others. [`RemoteCommand::outcome`] is known when both have ended.

use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ClientError;
use crate::remotecommand::status::Outcome;
use crate::remotecommand::{Kind, Protocol, STREAM_TYPE, resize};
use crate::request::Streams;
use crate::spdy::{self, Headers, Opener};
use crate::stdio::{Reader, TerminalSize, Writer};
use crate::websocket::{Channels, Role, Wiring};

/// The longest last word that is read.
const MAX_STATUS: u64 = 64 * 1024;

/// An open session. What was not asked for is `None`.
pub struct RemoteCommand {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    pub stderr: Option<Reader>,
    /// What the server chose.
    pub protocol: String,
    resize: Option<Writer>,
    error: Reader,
    status: bool,
    carrier: Carrier,
}

/// Keeps the connection open.
enum Carrier {
    Spdy(spdy::Connection),
    WebSocket(Channels),
}

/// Opens a session over SPDY.
pub async fn spdy<T>(
    io: T,
    to: &Uri,
    protocols: &[&str],
    streams: Streams,
) -> Result<RemoteCommand, ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, name) = super::spdy(io, to, protocols).await?;
    let protocol = Protocol::named(&name);
    let connection = spdy::Connection::new(io, spdy::Role::Client, None);
    let opener = connection.opener();
    let error = Box::new(open(&opener, Kind::Error).await?.into_reader());
    let mut session = RemoteCommand {
        stdin: None,
        stdout: None,
        stderr: None,
        protocol: name,
        resize: None,
        error,
        status: protocol.status,
        carrier: Carrier::Spdy(connection),
    };
    if streams.stdin {
        session.stdin = Some(Box::new(open(&opener, Kind::Stdin).await?.into_writer()));
    }
    if streams.stdout {
        session.stdout = Some(Box::new(open(&opener, Kind::Stdout).await?.into_reader()));
    }
    if streams.stderr {
        session.stderr = Some(Box::new(open(&opener, Kind::Stderr).await?.into_reader()));
    }
    if streams.tty && protocol.resize {
        session.resize = Some(Box::new(open(&opener, Kind::Resize).await?.into_writer()));
    }
    Ok(session)
}

/// Opens a session over WebSocket.
pub async fn websocket<T>(
    io: T,
    to: &Uri,
    protocols: &[&str],
    streams: Streams,
) -> Result<RemoteCommand, ClientError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, name) = super::websocket(io, to, protocols).await?;
    let protocol = Protocol::named(&name);
    let mut wiring = Wiring::new(protocol.codec);
    let stdin = streams.stdin.then(|| Box::new(wiring.writer(Kind::Stdin as u8)) as Writer);
    let stdout = streams.stdout.then(|| Box::new(wiring.reader(Kind::Stdout as u8)) as Reader);
    let stderr = streams.stderr.then(|| Box::new(wiring.reader(Kind::Stderr as u8)) as Reader);
    let resize = streams.tty.then(|| Box::new(wiring.writer(Kind::Resize as u8)) as Writer);
    let error = Box::new(wiring.reader(Kind::Error as u8));
    let channels = wiring.start(io, Role::Client, None).await;
    let (status, carrier) = (protocol.status, Carrier::WebSocket(channels));
    Ok(RemoteCommand { stdin, stdout, stderr, protocol: name, resize, error, status, carrier })
}

// === impl RemoteCommand ===

impl RemoteCommand {
    /// Tells the server the terminal's size; does nothing without a terminal.
    pub async fn resize(&mut self, size: TerminalSize) -> std::io::Result<()> {
        match &mut self.resize {
            Some(resize) => resize.write_all(&resize::encode(size)).await,
            None => Ok(()),
        }
    }

    /// Sends pings for as long as it is awaited, so that nothing on the way takes the session for dead.
    pub async fn keep_alive(&self, period: Duration) {
        let mut id = 0;
        loop {
            tokio::time::sleep(period).await;
            match &self.carrier {
                Carrier::Spdy(connection) => connection.opener().ping(id),
                Carrier::WebSocket(channels) => channels.ping(),
            }
            id += 2;
        }
    }

    /// Waits for the last word and closes. Take the readers out first and read them meanwhile.
    pub async fn outcome(mut self) -> std::io::Result<Outcome> {
        drop(self.stdin.take());
        let mut bytes = Vec::new();
        (&mut self.error).take(MAX_STATUS).read_to_end(&mut bytes).await?;
        match self.carrier {
            Carrier::Spdy(connection) => connection.close().await,
            Carrier::WebSocket(channels) => channels.close().await,
        }
        Ok(Outcome::decode(&bytes, self.status))
    }
}

async fn open(opener: &Opener, kind: Kind) -> Result<spdy::Stream, ClientError> {
    Ok(opener.open(Headers::new().with(STREAM_TYPE, kind.name())).await?)
}
