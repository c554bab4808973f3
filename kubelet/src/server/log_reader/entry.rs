//! Entries of a log file, and the lines that clients read. Pure.
//!
//! ```text
//! 2026-11-21T03:17:19.123456789Z stdout F a whole line
//! 2026-11-21T03:17:19.123456789Z stdout P the beginning of a longer one
//! ```

use jiff::Timestamp;

use super::Options;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As it stands there.
    pub time: &'a [u8],
    pub stream: &'a [u8],
    /// The line goes on in the next entry of its stream.
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// An entry without its newline; none where it is not one.
    pub fn read(line: &'a [u8]) -> Option<Entry<'a>> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
        let partial = match tags.split(|byte| *byte == b':').next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        matches!(stream, b"stdout" | b"stderr").then(|| Entry {
            time,
            stream,
            partial,
            text: parts.next().unwrap_or_default(),
        })
    }
}

/// Turns entries into what the options ask for.
#[derive(Debug)]
pub struct Format {
    options: Options,
    /// Bytes that may still be given.
    left: Option<u64>,
    /// The last entry's line goes on.
    within_line: bool,
}

impl Format {
    pub fn new(options: Options) -> Format {
        Format { left: options.limit, options, within_line: false }
    }

    /// Whether nothing more may be given.
    pub fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// Takes the whole entries at the beginning of `piece`; gives how many bytes they are.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while let Some(end) = piece[consumed..].iter().position(|byte| *byte == b'\n') {
            let line = &piece[consumed..consumed + end];
            consumed += end + 1;
            // What is no entry is passed over, as upstream.
            if let Some(entry) = Entry::read(line) {
                self.entry(&entry, out);
            }
            if self.is_full() {
                break;
            }
        }
        consumed
    }

    fn entry(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        if self.options.stream.is_some_and(|wanted| wanted.as_bytes() != entry.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && time(entry).is_none_or(|at| at < since)
        {
            return;
        }
        let begin = out.len();
        if self.options.timestamps && !self.within_line {
            out.extend_from_slice(entry.time);
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        if !entry.partial {
            out.push(b'\n');
        }
        self.within_line = entry.partial;
        if let Some(left) = &mut self.left {
            let room = usize::try_from(*left).unwrap_or(usize::MAX);
            out.truncate(begin.saturating_add(room));
            *left -= (out.len() - begin) as u64;
        }
    }
}

fn time(entry: &Entry<'_>) -> Option<Timestamp> {
    std::str::from_utf8(entry.time).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000001Z stdout F one\n\
                       2026-01-01T00:00:02.000000002Z stdout P tw\n\
                       2026-01-01T00:00:02.000000002Z stdout F o\n\
                       no entry at all\n\
                       2026-01-01T00:00:03.000000003Z stderr F \n\
                       2026-01-01T00:00:04.000000004Z stderr F:x last one\n\
                       2026-01-01T00:00:05.0Z stdout F ha";

    #[test]
    fn lines_as_the_options_ask() {
        let check = |options: Options, expect: &str| {
            let mut out = Vec::new();
            let consumed = Format::new(options.clone()).push(LOG.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{options:?}");
            if options.limit.is_none() {
                assert_eq!(&LOG[consumed..], "2026-01-01T00:00:05.0Z stdout F ha", "a half entry stays");
            }
        };
        let since = |time: &str| Options { since: Some(time.parse().unwrap()), ..Options::default() };
        check(Options::default(), "one\ntwo\n\nlast one\n");
        check(Options { stream: Some("stderr"), ..Options::default() }, "\nlast one\n");
        check(since("2026-01-01T00:00:03.000000003Z"), "\nlast one\n");
        check(since("2026-01-01T00:00:03.000000004Z"), "last one\n");
        check(Options { limit: Some(6), ..Options::default() }, "one\ntw");
        check(Options { limit: Some(4), ..Options::default() }, "one\n");
        check(
            Options { timestamps: true, stream: Some("stdout"), ..Options::default() },
            "2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02.000000002Z two\n",
        );
    }

    #[test]
    fn cutting_anywhere_gives_the_same_lines() {
        let mut whole = Vec::new();
        Format::new(Options::default()).push(LOG.as_bytes(), &mut whole);
        for cut in 0..LOG.len() {
            let (mut format, mut out) = (Format::new(Options::default()), Vec::new());
            let first = format.push(&LOG.as_bytes()[..cut], &mut out);
            format.push(&LOG.as_bytes()[first..], &mut out);
            assert_eq!(out, whole, "cut at {cut}");
        }
    }
}
