//! The formats of control files. A line that is not as expected counts as absent: the kernel adds fields.

use super::{Disk, Pressure, Stall};

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

/// `8:0 Read 4096` lines, into what `of` shows of each disk: what was read, and written.
pub(super) fn disks_v1(text: &str, disks: &mut Vec<Disk>, of: fn(&mut Disk) -> (&mut u64, &mut u64)) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(operation), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Some(disk) = disk(name, disks) else { continue };
        let (read, written) = of(disk);
        match operation {
            "Read" => *read += number(value),
            "Write" => *written += number(value),
            _ => {}
        }
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` lines.
pub(super) fn disks_v2(text: &str, disks: &mut Vec<Disk>) {
    for line in text.lines() {
        let Some(disk) = line.split_whitespace().next().and_then(|name| disk(name, disks)) else { continue };
        for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            let sum = match key {
                "rbytes" => &mut disk.read_bytes,
                "wbytes" => &mut disk.write_bytes,
                "rios" => &mut disk.read_operations,
                "wios" => &mut disk.write_operations,
                _ => continue,
            };
            *sum += number(value);
        }
    }
}

/// The one that `8:0` means, made if it is new.
fn disk<'a>(name: &str, disks: &'a mut Vec<Disk>) -> Option<&'a mut Disk> {
    let (major, minor) = name.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let at = disks.iter().position(|disk| (disk.major, disk.minor) == (major, minor)).unwrap_or_else(|| {
        disks.push(Disk { major, minor, ..Disk::default() });
        disks.len() - 1
    });
    disks.get_mut(at)
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
        let disk = |minor, [read_bytes, write_bytes, read_operations, write_operations]: [u64; 4]| Disk {
            major: 8,
            minor,
            read_bytes,
            write_bytes,
            read_operations,
            write_operations,
        };
        let mut v1 = Vec::new();
        let text = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Read 1\nTotal 61\n";
        disks_v1(text, &mut v1, |disk| (&mut disk.read_bytes, &mut disk.write_bytes));
        disks_v1("8:16 Write 7\n", &mut v1, |disk| (&mut disk.read_operations, &mut disk.write_operations));
        assert_eq!(v1, [disk(0, [10, 20, 0, 0]), disk(16, [1, 0, 0, 7])]);
        let mut v2 = Vec::new();
        let text =
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=10 wbytes=0 rios=1 wios=0\n";
        disks_v2(text, &mut v2);
        assert_eq!(v2, [disk(0, [1, 2, 3, 4]), disk(16, [10, 0, 1, 0])]);
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let pressure = pressure(text).unwrap();
        assert_eq!(
            (pressure.some.average_10, pressure.some.total_us, pressure.full.total_us),
            (1.5, 1234, 5)
        );
        assert_eq!(super::pressure(""), None);
    }
}
