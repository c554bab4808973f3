//! The CRI's log format, as a pure function.
//!
//! ```text
//! 2026-11-21T03:17:19.123456789Z stdout F a whole line
//! 2026-11-21T03:17:19.123456789Z stdout P the first 16 KiB of a longer one
//! 2026-11-21T03:17:19.123456789Z stderr F its rest
//! ```
//!
//! A line of up to [`LONGEST_LINE`] bytes is one entry. What has no end yet is not consumed: it waits
//! in its FIFO, so that no state is kept here. Reference: kubernetes `cri-api` logs, KEP-1967 wording;
//! containerd writes the same.

use keeper_api::Stream;

/// The longest piece of a line in one entry.
pub const LONGEST_LINE: usize = 16 * 1024;
/// The most that stands before a piece: time, stream, tag.
pub const LONGEST_PREFIX: usize = 48;

/// What stands before each piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    full: Vec<u8>,
    partial: Vec<u8>,
}

impl Prefix {
    /// The prefix of everything that one stream said at one time.
    pub fn new(at: jiff::Timestamp, stream: Stream) -> Prefix {
        let name = if stream == Stream::Stderr { "stderr" } else { "stdout" };
        let with = |tag: char| format!("{at:.9} {name} {tag} ").into_bytes();
        Prefix { full: with('F'), partial: with('P') }
    }
}

/// Appends entries for what can be told of `bytes` and returns how many of them that is. With `flush`,
/// it is all of them: what has no end yet becomes a partial entry.
pub fn append_entries(bytes: &[u8], prefix: &Prefix, flush: bool, log: &mut Vec<u8>) -> usize {
    let mut entry = |prefix: &[u8], piece: &[u8]| {
        log.extend_from_slice(prefix);
        log.extend_from_slice(piece);
        log.push(b'\n');
    };
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let mut line = &rest[..end];
        while line.len() > LONGEST_LINE {
            entry(&prefix.partial, &line[..LONGEST_LINE]);
            line = &line[LONGEST_LINE..];
        }
        entry(&prefix.full, line);
        rest = &rest[end + 1..];
    }
    while rest.len() > LONGEST_LINE {
        entry(&prefix.partial, &rest[..LONGEST_LINE]);
        rest = &rest[LONGEST_LINE..];
    }
    if flush && !rest.is_empty() {
        entry(&prefix.partial, rest);
        rest = &[];
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as `tag:length:first byte`, and what is left.
    fn check(input: &[u8], flush: bool, want: &[(char, usize)], left: usize) {
        let prefix = Prefix::new(jiff::Timestamp::UNIX_EPOCH, Stream::Stdout);
        let mut log = Vec::new();
        let consumed = append_entries(input, &prefix, flush, &mut log);
        let text = String::from_utf8(log).expect("plain text");
        let got: Vec<(char, usize)> = text
            .lines()
            .map(|line| {
                let rest = line.strip_prefix("1970-01-01T00:00:00.000000000Z stdout ").expect("a prefix");
                (rest.chars().next().expect("a tag"), rest.len() - 2)
            })
            .collect();
        assert_eq!((got.as_slice(), input.len() - consumed), (want, left));
    }

    #[test]
    fn entries() {
        let long = |count: usize, end: &str| [vec![b'x'; count], end.as_bytes().to_vec()].concat();
        check(b"", false, &[], 0);
        check(b"", true, &[], 0);
        check(b"a\nbb\n\n", false, &[('F', 1), ('F', 2), ('F', 0)], 0);
        check(b"a\nbb", false, &[('F', 1)], 2);
        check(b"a\nbb", true, &[('F', 1), ('P', 2)], 0);
        check(&long(LONGEST_LINE, "\n"), false, &[('F', LONGEST_LINE)], 0);
        check(&long(LONGEST_LINE, ""), false, &[], LONGEST_LINE);
        check(&long(LONGEST_LINE + 1, "\n"), false, &[('P', LONGEST_LINE), ('F', 1)], 0);
        check(&long(LONGEST_LINE + 1, ""), false, &[('P', LONGEST_LINE)], 1);
        check(&long(2 * LONGEST_LINE, "\n"), false, &[('P', LONGEST_LINE), ('F', LONGEST_LINE)], 0);
        check(
            &long(2 * LONGEST_LINE + 5, ""),
            true,
            &[('P', LONGEST_LINE), ('P', LONGEST_LINE), ('P', 5)],
            0,
        );
    }

    #[test]
    fn cutting_anywhere_gives_the_same_lines() {
        let input: Vec<u8> = (0..400u32)
            .flat_map(|n| format!("{}\n", "ab".repeat((n * 37 % 300) as usize)).into_bytes())
            .collect();
        let whole = joined(&[&input]);
        for cut in (0..input.len()).step_by(97) {
            assert_eq!(joined(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
        }
    }

    /// Feeds pieces as a FIFO would, and joins partial entries as a reader would.
    fn joined(pieces: &[&[u8]]) -> String {
        let prefix = Prefix::new(jiff::Timestamp::UNIX_EPOCH, Stream::Stderr);
        let (mut log, mut waiting) = (Vec::new(), Vec::new());
        for piece in pieces {
            waiting.extend_from_slice(piece);
            let consumed = append_entries(&waiting, &prefix, false, &mut log);
            waiting.drain(..consumed);
        }
        let text = String::from_utf8(log).expect("plain text");
        text.lines().map(|line| format!("{}\n", &line[prefix.full.len()..])).collect()
    }

    #[test]
    fn prefixes_have_their_length() {
        let prefix = Prefix::new(jiff::Timestamp::now(), Stream::Stderr);
        assert!(prefix.full.len() <= LONGEST_PREFIX, "{}", prefix.full.len());
    }
}
