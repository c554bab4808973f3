//! Log framing: whatever a container writes, in whatever pieces, a reader of the log gets back; whatever stands in a log
//! file, a reader passes over it.

use cri::io::line::{Prefix, append_entries};
use jiff::Timestamp;
use keeper_api::Stream;
use kubelet::server::log_reader::entry::Format;
use kubelet::server::log_reader::{Options, tail};

use crate::mutate::{self, Verdict};

const WORDS: [&str; 6] = ["\n", "\r\n", "stdout", "F", "P", "2026-01-01T00:00:00Z"];

/// What the log writer makes of an input whose first byte says how it comes in pieces.
fn written(input: &[u8], stream: Stream) -> Vec<u8> {
    let piece = usize::from(input.first().copied().unwrap_or_default()) * 97 + 1;
    let prefix = Prefix::new(Timestamp::UNIX_EPOCH, stream);
    let (mut log, mut waiting) = (Vec::new(), Vec::new());
    for piece in input.chunks(piece) {
        waiting.extend_from_slice(piece);
        let consumed = append_entries(&waiting, &prefix, false, &mut log);
        waiting.drain(..consumed);
    }
    assert_eq!(append_entries(&waiting, &prefix, true, &mut log), waiting.len());
    log
}

fn read(log: &[u8], options: Options, piece: usize) -> Vec<u8> {
    let (mut format, mut out, mut at) = (Format::new(options), Vec::new(), 0);
    for end in (0..log.len()).step_by(piece.max(1)).chain([log.len()]) {
        if format.is_full() {
            break;
        }
        at += format.push(&log[at..end.max(at)], &mut out);
    }
    out
}

#[test]
fn what_is_written_is_read() {
    let long = [vec![b'x'; 40_000], b"\nend\n\n".to_vec(), vec![0xff; 16 * 1024], b"\n".to_vec()].concat();
    let corpus: [&[u8]; 4] = [b"one\ntwo\n", b"\n\n", &long, b"2026-01-01T00:00:00Z stdout F a lie\nhalf"];
    mutate::run("log", &corpus, &WORDS, |input| {
        let log = written(input, Stream::Stdout);
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            assert!(line.len() <= 16 * 1024 + 49, "an entry of {} bytes", line.len());
        }
        let piece = 1 + input.len() % 5000;
        let got = read(&log, Options::default(), piece);
        assert_eq!(got, input, "what was written is read");
        assert!(read(&log, Options { stream: Some("stderr"), ..Options::default() }, piece).is_empty());
        let few = read(&log, Options { limit: Some(7), ..Options::default() }, piece);
        assert_eq!(few, &input[..input.len().min(7)]);
        Verdict::Understood
    });
}

#[test]
fn any_file_is_read() {
    use std::io::Write as _;
    let log = written(b"one\ntwo\nthree", Stream::Stderr);
    let corpus: [&[u8]; 2] =
        [&log, b"2026-01-01T00:00:00Z stdout P a\n2026-01-01T00:00:00Z stderr F:x b\nhalf"];
    mutate::run("log file", &corpus, &WORDS, |input| {
        let since = Some(Timestamp::UNIX_EPOCH);
        for options in [
            Options::default(),
            Options { timestamps: true, stream: Some("stdout"), ..Options::default() },
            Options { since, limit: Some(5), ..Options::default() },
        ] {
            let whole = read(input, options.clone(), input.len());
            assert_eq!(read(input, options, 3), whole, "in pieces as in one");
        }
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(input).expect("written");
        for lines in [0, 1, 3, u64::MAX] {
            let begin = tail::begin(&file, lines).expect("a file is read") as usize;
            assert!(begin <= input.len() && (begin == 0 || input[begin - 1] == b'\n'), "{begin}");
        }
        Verdict::Understood
    });
}
