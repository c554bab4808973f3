//! A registry of our own: serves built images, fails as it is told, writes down what it was asked.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::http::{Message, Server, respond};
use crate::image::BuiltImage;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Serve,
    /// A status line such as `503 Service Unavailable`, with headers.
    Status(&'static str, Vec<(&'static str, String)>),
    /// The connection ends after this many bytes of the body.
    CutAfter(usize),
    /// One bit of the body is wrong.
    Flip,
    /// The body is shorter than the manifest says, and Content-Length agrees with it.
    Short(usize),
    /// Ranges are ignored.
    WholeOnly,
    /// Waits before the body.
    Slow(Duration),
    /// Another body.
    Body(Vec<u8>),
}

/// A running registry.
pub struct Fake {
    /// `127.0.0.1:port`.
    pub address: String,
    asked: Arc<Mutex<Vec<Message>>>,
    _server: Server,
}

// === impl Fake ===

impl Fake {
    /// Serves these images under any repository, by their tags. `answer` decides about each request; it is
    /// told how often the same path was asked before.
    pub fn start(
        images: &[(&str, &BuiltImage)],
        answer: impl Fn(&Message, usize) -> Answer + Send + Sync + 'static,
    ) -> Fake {
        let mut content: BTreeMap<String, (Vec<u8>, String)> = BTreeMap::new();
        for (tag, image) in images {
            for (digest, bytes) in &image.blobs {
                let kind = serde_json::from_slice::<serde_json::Value>(bytes).ok();
                let kind = kind.and_then(|json| json["mediaType"].as_str().map(str::to_owned));
                let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
                content.insert(digest.clone(), (bytes.clone(), kind));
            }
            let manifest = (image.blobs[&image.manifest].clone(), image.manifest_type.to_owned());
            content.insert((*tag).to_owned(), manifest);
        }
        let asked: Arc<Mutex<Vec<Message>>> = Arc::default();
        let list = asked.clone();
        let server = Server::start(move |request, stream| {
            let before = {
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                let before = list.iter().filter(|other| other.target() == request.target()).count();
                list.push(request.clone());
                before
            };
            serve(&content, request, stream, answer(request, before))
        });
        Fake { address: server.address.clone(), asked, _server: server }
    }

    /// Every request so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Message> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often paths with this text in them were asked for.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.asked().iter().filter(|request| request.target().contains(part)).count()
    }
}

fn serve(
    content: &BTreeMap<String, (Vec<u8>, String)>,
    request: &Message,
    stream: &mut TcpStream,
    answer: Answer,
) -> bool {
    let path = request.target().split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((bytes, kind)) = content.get(name) else {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        return respond(stream, "404 Not Found", &[], body.len(), body);
    };
    let range = request.header("range").filter(|_| answer != Answer::WholeOnly);
    let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let mut headers = vec![("content-type", kind.clone())];
    let (status, body) = match from {
        Some(from) if from >= bytes.len() => {
            return respond(stream, "416 Range Not Satisfiable", &[], 0, b"");
        }
        Some(from) => {
            headers.push(("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
            ("206 Partial Content", &bytes[from..])
        }
        None => ("200 OK", bytes.as_slice()),
    };
    match answer {
        Answer::Serve | Answer::WholeOnly => respond(stream, status, &headers, body.len(), body),
        Answer::Status(status, extra) => respond(stream, status, &extra, 0, b""),
        Answer::CutAfter(length) => {
            respond(stream, status, &headers, body.len(), &body[..length.min(body.len())]);
            false
        }
        Answer::Short(length) => {
            let body = &body[..length.min(body.len())];
            respond(stream, status, &headers, body.len(), body)
        }
        Answer::Flip => {
            let mut wrong = body.to_vec();
            let middle = wrong.len() / 2;
            wrong[middle] ^= 1;
            respond(stream, status, &headers, wrong.len(), &wrong)
        }
        Answer::Slow(pause) => {
            std::thread::sleep(pause);
            respond(stream, status, &headers, body.len(), body)
        }
        Answer::Body(other) => respond(stream, status, &headers, other.len(), &other),
    }
}
