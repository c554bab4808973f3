//! A watch: a stream of changes, one JSON document per line.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::with_query;
use crate::error::from_value;
use crate::{Client, ClientError, Object, Resource};

/// The longest line taken: an object, which the store bounds much lower.
const LONGEST_LINE: usize = 16 << 20;

/// What a watch tells.
#[derive(Debug)]
pub enum Event {
    /// There now, in this version: added or modified.
    Applied(Object),
    /// Gone; the last version.
    Deleted(Object),
    /// Nothing changed up to this resourceVersion.
    Bookmark {
        resource_version: String,
        /// Ends the initial objects of a streamed list.
        initial_end: bool,
    },
}

/// An open watch. Dropping it ends it.
pub struct Watch {
    client: Client,
    resource: Arc<Resource>,
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line's end.
    searched: usize,
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Client {
    /// Watches a kind; `query` holds selectors, resourceVersion, timeoutSeconds and the like.
    pub async fn watch(
        &self,
        resource: &Resource,
        namespace: &str,
        query: &[(&str, &str)],
    ) -> Result<Watch, ClientError> {
        let mut words = vec![("watch", "true")];
        words.extend_from_slice(query);
        let response = self.stream(&with_query(&resource.collection(namespace), &words)).await?;
        Ok(Watch {
            client: self.clone(),
            resource: Arc::new(resource.clone()),
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
        })
    }
}

impl Watch {
    /// The next change; `None` when the server ended the watch in good order.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            if !line.is_empty() {
                return read(&self.resource, &line).map(Some);
            }
        }
    }

    async fn line(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > LONGEST_LINE {
                return Err(ClientError::TooLarge(LONGEST_LINE));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.client.broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

fn read(resource: &Arc<Resource>, line: &[u8]) -> Result<Event, ClientError> {
    let unreadable = |why: String| ClientError::Answer(format!("watch of {resource}: {why}"));
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
    match frame.r#type {
        "ADDED" | "MODIFIED" => Object::read(resource, frame.object).map(Event::Applied),
        "DELETED" => Object::read(resource, frame.object).map(Event::Deleted),
        "BOOKMARK" => {
            let object = Object::read(resource, frame.object)?;
            let initial_end = object.meta().annotation("k8s.io/initial-events-end") == Some("true");
            Ok(Event::Bookmark { resource_version: object.resource_version, initial_end })
        }
        "ERROR" => {
            let status: Value =
                serde_json::from_str(frame.object.get()).map_err(|error| unreadable(error.to_string()))?;
            Err(ClientError::Refused(Box::new(from_value(500, &status))))
        }
        other => Err(unreadable(format!("an event of type {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let pods = Arc::new(Resource::PODS);
        let read = |line: &str| read(&pods, line.as_bytes());
        let object = r#"{"metadata":{"name":"a","namespace":"b","resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}"#;
        assert!(
            matches!(read(&format!(r#"{{"type":"ADDED","object":{object}}}"#)), Ok(Event::Applied(o)) if o.key.name == "a")
        );
        assert!(matches!(read(&format!(r#"{{"type":"DELETED","object":{object}}}"#)), Ok(Event::Deleted(_))));
        assert!(matches!(
            read(&format!(r#"{{"type":"BOOKMARK","object":{object}}}"#)),
            Ok(Event::Bookmark { resource_version, initial_end: true }) if resource_version == "9"
        ));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(read(gone).is_err_and(|error| error.is_expired()));
        assert!(matches!(read("{"), Err(ClientError::Answer(_))));
        assert!(read(r#"{"type":"X","object":{}}"#).is_err());
    }
}
