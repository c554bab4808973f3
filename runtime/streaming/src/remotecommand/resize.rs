//! Terminal sizes, one JSON object after the other: `{"Width":80,"Height":24}`.
//!
//! A program cares for the latest size only, so a slow one is never a reason to stop reading: sizes that
//! came while it was busy are replaced by the last.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::stdio::TerminalSize;

/// The most bytes of one size.
const MAX_SIZE_TEXT: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "Width", alias = "width", default)]
    width: u16,
    #[serde(rename = "Height", alias = "height", default)]
    height: u16,
}

/// Reads sizes until the stream ends or says something else.
pub async fn forward<R: AsyncRead + Unpin>(mut from: R, to: mpsc::Sender<TerminalSize>) {
    let mut text = Vec::with_capacity(MAX_SIZE_TEXT);
    let mut latest = None;
    loop {
        tokio::select! {
            biased;
            permit = to.reserve(), if latest.is_some() => {
                let (Ok(permit), Some(size)) = (permit, latest.take()) else { return };
                permit.send(size);
            }
            read = from.read_buf(&mut text) => {
                let ended = !matches!(read, Ok(1..));
                match take(&mut text) {
                    Some(size) => latest = size.or(latest),
                    None => return,
                }
                if ended {
                    if let Some(size) = latest {
                        let _ = to.send(size).await;
                    }
                    return;
                }
                if text.len() >= MAX_SIZE_TEXT {
                    return;
                }
            }
        }
    }
}

/// A size as it travels.
pub fn encode(size: TerminalSize) -> Vec<u8> {
    let mut text = serde_json::to_vec(&Wire { width: size.width, height: size.height }).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Takes all complete sizes from the front; gives the last of them. `None` is nonsense.
fn take(text: &mut Vec<u8>) -> Option<Option<TerminalSize>> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Wire>();
    let mut last = None;
    let mut used = 0;
    loop {
        match values.next() {
            Some(Ok(Wire { width, height })) => {
                last = Some(TerminalSize { width, height });
                used = values.byte_offset();
            }
            Some(Err(error)) if !error.is_eof() => return None,
            _ => break,
        }
    }
    text.drain(..used);
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sizes_are_read_whatever_the_pieces() {
        let (to, mut sizes) = mpsc::channel(8);
        let mut text = encode(TerminalSize { width: 80, height: 24 });
        text.extend_from_slice(br#"{"width":1,"height":2} {"Width":100,"Height":50}"#);
        let (mut client, server) = tokio::io::duplex(64);
        let task = tokio::spawn(forward(server, to));
        for byte in text {
            tokio::io::AsyncWriteExt::write_all(&mut client, &[byte]).await.expect("written");
            tokio::task::yield_now().await;
        }
        drop(client);
        task.await.expect("no panic");
        let mut last = None;
        while let Some(size) = sizes.recv().await {
            last = Some(size);
        }
        assert_eq!(last, Some(TerminalSize { width: 100, height: 50 }));
    }

    #[tokio::test]
    async fn nonsense_and_endless_text_end_it() {
        for text in [b"hello".to_vec(), vec![b' '; 4 * MAX_SIZE_TEXT], br#"{"Width":-1}"#.to_vec()] {
            let (to, mut sizes) = mpsc::channel(1);
            forward(text.as_slice(), to).await;
            assert_eq!(sizes.recv().await, None);
        }
    }
}
