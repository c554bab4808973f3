//! HTTP/1.1 as a client of a test needs it: requests with a length, answers with a length or in chunks.
//!
//! Reference: RFC 9112.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;

/// A connection that reads lines.
pub(super) type Wire = Box<dyn Line + Send>;

/// Reads, writes, and reads up to a line's end.
pub(super) trait Line: Read + Write {
    /// A line without its end.
    fn line(&mut self) -> io::Result<String>;
}

struct Tls(BufReader<Reading>);

/// Reads without writing: what could not be sent to a server that has refused must not hide what it answered.
struct Reading(StreamOwned<ClientConnection, TcpStream>);

/// A TLS stream as a wire.
pub(super) fn wire(stream: StreamOwned<ClientConnection, TcpStream>) -> Wire {
    Box::new(Tls(BufReader::new(Reading(stream))))
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let StreamOwned { conn, sock } = &mut self.0;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            conn.read_tls(sock)?;
            conn.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().0.flush()
    }
}

impl Line for Tls {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub(super) keeps: bool,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {}", self.code, self.text()))
    }

    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Insists on a status; the body.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text());
        self.json()
    }

    /// Insists on a refusal: HTTP status, reason and a part of the message.
    #[track_caller]
    pub fn refused(&self, code: u16, reason: &str, part: &str) -> Value {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["code"], code, "{status}");
        assert_eq!(status["reason"].as_str().unwrap_or_default(), reason, "{status}");
        assert!(status["message"].as_str().unwrap_or_default().contains(part), "{part:?} not in {status}");
        status
    }
}

/// Sends a request.
pub(super) fn ask(
    wire: &mut Wire,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> io::Result<()> {
    wire.write_all(head_of(host, method, path, headers, body.len()).as_bytes())?;
    // A server that refuses a large body early may close its side: its answer is what counts.
    let sent = wire.write_all(body).and_then(|()| wire.flush());
    if body.len() < EARLY_REFUSAL { sent } else { Ok(()) }
}

/// A request's line and headers.
pub(super) fn head_of(
    host: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    length: usize,
) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {length}\r\n\r\n"));
    head
}

/// Bodies that a server may refuse before it has read them.
const EARLY_REFUSAL: usize = 1 << 20;

/// Reads the status line and the headers.
pub(super) fn head(wire: &mut Wire) -> io::Result<Answer> {
    let line = wire.line()?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = wire.line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { code, headers, body: Vec::new(), keeps: true };
    answer.keeps = !answer.header("connection").eq_ignore_ascii_case("close");
    Ok(answer)
}

/// Reads a whole answer.
pub(super) fn answer(wire: &mut Wire) -> io::Result<Answer> {
    let head = head(wire)?;
    rest(wire, head)
}

/// Reads the body behind a head.
pub(super) fn rest(wire: &mut Wire, mut answer: Answer) -> io::Result<Answer> {
    if answer.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        loop {
            let chunk = chunk(wire)?;
            if chunk.is_empty() {
                return Ok(answer);
            }
            answer.body.extend(chunk);
        }
    }
    let length = answer.header("content-length").parse().unwrap_or(0);
    answer.body.resize(length, 0);
    wire.read_exact(&mut answer.body)?;
    Ok(answer)
}

/// Reads one chunk; the last one is empty.
pub(super) fn chunk(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let line = wire.line()?;
    let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
    let size = size.map_err(|_| io::Error::other(format!("no chunk size: {line:?}")))?;
    let mut chunk = vec![0; size];
    wire.read_exact(&mut chunk)?;
    // The line's end behind a chunk, or the end of the trailers.
    wire.line()?;
    Ok(chunk)
}
