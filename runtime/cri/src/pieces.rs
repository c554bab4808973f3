//! A list in pieces: what the Stream* calls answer, each piece small enough for any client's message limit.
//!
//! Reference: KEP 5825.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message;
use tonic::Status;

/// Items of one piece.
pub const ITEMS_MAX: usize = 256;
/// Encoded bytes after which a piece is full: far below the 4 MiB that gRPC clients take unless told otherwise.
pub const BYTES_FULL: usize = 1 << 20;

/// Each item once, in order, then the end.
pub fn stream<T, R>(
    items: Vec<T>,
    piece: impl Fn(Vec<T>) -> R + Send + 'static,
) -> BoxStream<'static, Result<R, Status>>
where
    T: Message + Send + 'static,
    R: Send + 'static,
{
    futures::stream::iter(split(items)).map(move |items| Ok(piece(items))).boxed()
}

fn split<T: Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for item in items {
        bytes += item.encoded_len();
        piece.push(item);
        if bytes >= BYTES_FULL || piece.len() >= ITEMS_MAX {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_and_keep_their_order() {
        let check = |lengths: &[usize], expect: &[usize]| {
            let items = lengths
                .iter()
                .map(|length| cri_api::v1::ImageSpec { image: "a".repeat(*length), ..Default::default() });
            let pieces = split(items.collect());
            assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), expect);
            let joined: Vec<usize> = pieces.iter().flatten().map(|item| item.image.len()).collect();
            assert_eq!(joined, lengths);
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[3]);
        check(&[1; 600], &[256, 256, 88]);
        check(&[600 << 10, 600 << 10, 2, 2 << 20, 1], &[2, 2, 1]);
    }
}
