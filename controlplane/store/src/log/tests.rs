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

/// A segment without the room behind its records.
fn used(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end.next_multiple_of(record::ALIGNMENT));
    bytes
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
    let whole = used(&path);
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
    // Eight bytes each, so that no byte is padding. Each is on disk before the next one is written.
    for payload in [b"thefirst", b"a second", b"thethird"] {
        append(&mut log, &[payload]);
    }
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
            let mut bytes = used(&path);
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

/// A crash may leave any blocks of the last batch, and none of what was on disk before is lost.
#[test]
fn any_part_of_the_last_batch_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), 0).unwrap();
    let payload = [7; 40];
    append(&mut log, &[&payload]);
    append(&mut log, &[&payload, &payload, &payload, &payload]);
    drop(log);
    let path = only_segment(folder.path());
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, ROOM_BYTES, "there is room behind them");
    let size = record::bytes(payload.len());
    for lost in 1..5 {
        let mut bytes = whole.clone();
        bytes[HEADER_BYTES_FOR_TEST + lost * size..][..size].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let (mut log, seen) = open(folder.path(), 0).unwrap();
        assert_eq!(seen.len(), lost, "record {lost} is lost");
        // What stood behind it does not come back.
        append(&mut log, &[b"new"]);
        drop(log);
        assert_eq!(open(folder.path(), 0).unwrap().1.len(), lost + 1);
    }
    let mut bytes = whole.clone();
    bytes[HEADER_BYTES_FOR_TEST..][..size].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    let error = open(folder.path(), 0).unwrap_err();
    assert!(matches!(error, LogError::Damaged { .. }), "the first was on disk before the batch: {error}");
}

/// What the last version wrote is read, and written on as it would have.
#[test]
fn a_segment_of_format_1_goes_on_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = record::header(1).to_vec();
    for index in 1..=3 {
        record::encode(&mut bytes, index, b"thefirst", false);
    }
    let path = folder.path().join(format!("{:020}.log", 1));
    std::fs::write(&path, &bytes).unwrap();
    let (mut log, seen) = open(folder.path(), 0).unwrap();
    assert_eq!(seen.len(), 3);
    append(&mut log, &[b"a fourth"]);
    record::encode(&mut bytes, 4, b"a fourth", false);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    drop(log);
    bytes[HEADER_BYTES_FOR_TEST + 30] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(folder.path(), 0).unwrap_err(), LogError::Damaged { .. }));
}

#[test]
fn cutting_finds_the_end_of_what_stays() {
    for (keep, more) in [(2, 3), (3, 3), (1, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path(), 0).unwrap();
        for index in 1..=5u8 {
            append(&mut log, &[&vec![index; usize::from(index)]]);
        }
        log.truncate_after(keep).unwrap();
        for _ in 0..more {
            append(&mut log, &[b"new"]);
        }
        drop(log);
        let (_, seen) = open(folder.path(), 0).unwrap();
        assert_eq!(seen.len() as u64, keep + more);
        assert_eq!(seen[keep as usize].1, b"new");
    }
}
