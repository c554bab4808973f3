//! What a log survives, and what it refuses.

use super::*;

type Replayed = Vec<(u64, Vec<u8>)>;

fn open(folder: &Path, applied: u64) -> Result<(Log, Replayed), LogError> {
    let mut seen = Vec::new();
    let log = Log::open(folder, applied, |index, payload| {
        seen.push((index, payload.to_vec()));
        Ok::<(), LogError>(())
    })?;
    Ok((log, seen))
}

fn append(log: &mut Log, payloads: &[&[u8]]) {
    for payload in payloads {
        log.stage(payload);
    }
    log.write(payloads.len() as u64).unwrap();
    log.sync().unwrap();
}

fn only_segment(folder: &Path) -> PathBuf {
    Segment::list(folder).unwrap().remove(0).path
}

#[test]
fn replays_what_was_synced_after_what_was_applied() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, seen) = open(folder.path(), 0).unwrap();
    assert!(seen.is_empty());
    append(&mut log, &[b"one", b"", b"three"]);
    drop(log);
    let (mut log, seen) = open(folder.path(), 0).unwrap();
    assert_eq!(seen, [(1, b"one".to_vec()), (2, b"".to_vec()), (3, b"three".to_vec())]);
    append(&mut log, &[b"four"]);
    drop(log);
    let (log, seen) = open(folder.path(), 3).unwrap();
    assert_eq!(seen, [(4, b"four".to_vec())]);
    assert_eq!(log.next(), 5);
}

#[test]
fn a_torn_end_is_cut_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), 0).unwrap();
    append(&mut log, &[b"first", b"the second record"]);
    drop(log);
    let path = only_segment(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let second = HEADER_BYTES_FOR_TEST + 24;
    for cut in second..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut log, seen) = open(folder.path(), 0).unwrap();
        assert_eq!(seen, [(1, b"first".to_vec())], "cut at {cut}");
        append(&mut log, &[b"again"]);
        drop(log);
        assert_eq!(open(folder.path(), 1).unwrap().1, [(2, b"again".to_vec())]);
    }
}

const HEADER_BYTES_FOR_TEST: usize = record::HEADER_BYTES as usize;

#[test]
fn a_flipped_bit_in_the_middle_is_refused_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), 0).unwrap();
    // Eight bytes each, so that no byte is padding.
    append(&mut log, &[b"thefirst", b"a second", b"thethird"]);
    drop(log);
    let path = only_segment(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for at in 8..HEADER_BYTES_FOR_TEST + 48 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = open(folder.path(), 0).expect_err("damage is seen");
        assert!(matches!(error, LogError::Damaged { .. } | LogError::Newer { .. }), "byte {at}: {error}");
    }
}

#[test]
fn a_missing_segment_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Segment::create(folder.path(), 7).unwrap();
    let error = open(folder.path(), 3).unwrap_err();
    assert!(matches!(error, LogError::Gap { expected: 4, found: 7, .. }), "{error}");
    std::fs::write(folder.path().join(format!("{:020}.log", 7)), [b'x'; 64]).unwrap();
    assert!(matches!(open(folder.path(), 6).unwrap_err(), LogError::NotALog { .. }));
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::create(folder.path(), 1).unwrap();
    let mut bytes = std::fs::read(&segment.path).unwrap();
    bytes[8] = 9;
    std::fs::write(&segment.path, bytes).unwrap();
    let error = open(folder.path(), 0).unwrap_err().to_string();
    assert!(error.contains("log format 9") && error.contains("run the newer one"), "{error}");
}

#[test]
fn old_segments_are_forgotten_and_the_rest_still_reads() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), 0).unwrap();
    let big = vec![7; 4 << 20];
    for _ in 0..40 {
        append(&mut log, &[&big]);
    }
    assert_eq!(Segment::list(folder.path()).unwrap().len(), 3);
    log.forget(20).unwrap();
    assert_eq!(Segment::list(folder.path()).unwrap().len(), 2);
    drop(log);
    let (_, seen) = open(folder.path(), 30).unwrap();
    assert_eq!(seen.first().map(|(index, _)| *index), Some(31));
    assert_eq!(seen.len(), 10);
}

#[test]
fn a_segment_that_was_made_but_never_begun_is_passed_over() {
    for (stale, torn) in [(&[2][..], false), (&[3], true), (&[2, 3], false), (&[4], false)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path(), 0).unwrap();
        append(&mut log, &[b"one", b"two", b"three"]);
        drop(log);
        if torn {
            let path = only_segment(folder.path());
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.extend_from_slice(&[1; 11]);
            std::fs::write(&path, bytes).unwrap();
        }
        for first in stale {
            Segment::create(folder.path(), *first).unwrap();
        }
        let (mut log, seen) = open(folder.path(), 0).unwrap();
        assert_eq!(seen.len(), 3, "{stale:?}");
        append(&mut log, &[b"four"]);
        drop(log);
        let (_, seen) = open(folder.path(), 0).unwrap();
        assert_eq!(seen.last(), Some(&(4, b"four".to_vec())), "{stale:?}");
    }
}
