//! The formats of control files. A line that is not as expected counts as absent: the kernel adds fields.

use super::{Io, Pressure, Stall};

/// v1 writes "no limit" as the largest page-aligned number; nobody has an exbibyte.
const NO_LIMIT: u64 = 1 << 60;

/// A file that is one number.
pub(super) fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// A file that is one number or `max`.
pub(super) fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

/// `key value` lines.
pub(super) fn field(text: &str, key: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok());
    found.unwrap_or(0)
}

/// `8:0 Read 4096` lines: (read, written).
pub(super) fn disks_v1(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(_), Some(operation), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        match operation {
            "Read" => sums.0 += number(value),
            "Write" => sums.1 += number(value),
            _ => {}
        }
    }
    sums
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` lines.
pub(super) fn disks_v2(text: &str) -> Io {
    let mut io = Io::default();
    for (key, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
        let sum = match key {
            "rbytes" => &mut io.read_bytes,
            "wbytes" => &mut io.write_bytes,
            "rios" => &mut io.read_operations,
            "wios" => &mut io.write_operations,
            _ => continue,
        };
        *sum += number(value);
    }
    io
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full ...`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(stall);
    Some(Pressure { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

fn stall(line: &str) -> Stall {
    let mut stall = Stall::default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => stall.average_10 = value.parse().unwrap_or(0.0),
            "avg60" => stall.average_60 = value.parse().unwrap_or(0.0),
            "avg300" => stall.average_300 = value.parse().unwrap_or(0.0),
            "total" => stall.total_us = number(value),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!(number("42\n"), 42);
        assert_eq!(
            (limit("max\n"), limit("9223372036854771712\n"), limit("4096\n"), limit("")),
            (None, None, Some(4096), None)
        );
        assert_eq!(field("pgfault 7\npgmajfault 3\n", "pgmajfault"), 3);
        assert_eq!(field("pgmajfault 3\n", "pgfault"), 0);
        let v1 = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Read 1\nTotal 61\n";
        assert_eq!(disks_v1(v1), (11, 20));
        let v2 = disks_v2(
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=10 wbytes=0 rios=1 wios=0\n",
        );
        assert_eq!((v2.read_bytes, v2.write_bytes, v2.read_operations, v2.write_operations), (11, 2, 4, 4));
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = pressure(text).unwrap();
        assert_eq!(
            (pressure.some.average_10, pressure.some.total_us, pressure.full.total_us),
            (1.5, 1234, 5)
        );
        assert_eq!(super::pressure(""), None);
    }
}
