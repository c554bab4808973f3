//! Where the last lines of a log begin, found from its end.
//!
//! A line is what a container wrote up to a newline, whatever the number of its entries. Where the entries of two
//! streams alternate, the beginning of a long line may be missing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::entry::Entry;

/// How much is read at once.
const BLOCK: u64 = 64 * 1024;
/// What is longer without a newline is no log.
const LONGEST: usize = 1 << 20;

/// The offset at which the last `lines` lines begin; the end of the file for none.
pub fn begin(file: &File, lines: u64) -> io::Result<u64> {
    let mut back = Backwards::at_the_end(file)?;
    let (mut begin, mut seen) = (back.end(), 0);
    while let Some((offset, line)) = back.previous()? {
        match Entry::read(&line) {
            // The end of a line that is not wanted any more.
            Some(entry) if !entry.partial && seen == lines => break,
            Some(entry) if !entry.partial => seen += 1,
            // A line that has not ended yet.
            Some(_) if seen == 0 => {
                if lines == 0 {
                    break;
                }
                seen = 1;
            }
            _ => {}
        }
        begin = offset;
    }
    Ok(begin)
}

/// The whole lines of a file, the last one first.
struct Backwards<'a> {
    file: &'a File,
    /// Where `window` begins.
    base: u64,
    /// What was read and not given yet; ends with a newline.
    window: Vec<u8>,
}

impl<'a> Backwards<'a> {
    fn at_the_end(file: &'a File) -> io::Result<Backwards<'a>> {
        let mut back = Backwards { file, base: file.metadata()?.len(), window: Vec::new() };
        // What has no newline yet is not whole.
        loop {
            if let Some(last) = back.window.iter().rposition(|byte| *byte == b'\n') {
                back.window.truncate(last + 1);
                return Ok(back);
            }
            if !back.extend()? {
                back.window.clear();
                return Ok(back);
            }
        }
    }

    /// Behind the last whole line.
    fn end(&self) -> u64 {
        self.base + self.window.len() as u64
    }

    /// A line without its newline, and where it begins.
    fn previous(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let Some(body) = self.window.len().checked_sub(1) else {
                if self.extend()? {
                    continue;
                }
                return Ok(None);
            };
            let before = self.window[..body].iter().rposition(|byte| *byte == b'\n');
            if before.is_none() && self.window.len() < LONGEST && self.extend()? {
                continue;
            }
            let begin = before.map_or(0, |at| at + 1);
            let mut line = self.window.split_off(begin);
            line.pop();
            return Ok(Some((self.base + begin as u64, line)));
        }
    }

    /// Reads the block before the window.
    fn extend(&mut self) -> io::Result<bool> {
        let count = self.base.min(BLOCK);
        if count == 0 {
            return Ok(false);
        }
        let mut block = vec![0; count as usize];
        self.file.read_exact_at(&mut block, self.base - count)?;
        self.base -= count;
        block.append(&mut self.window);
        self.window = block;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        file
    }

    fn entry(tag: char, text: &str) -> String {
        format!("2026-01-01T00:00:00.000000000Z stdout {tag} {text}\n")
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        let log = [entry('F', "1"), entry('P', "2"), entry('P', "2"), entry('F', "2"), entry('F', "3")];
        let at = |index: usize| log[..index].iter().map(|entry| entry.len() as u64).sum::<u64>();
        let check = |content: &str, lines, expect: u64| {
            assert_eq!(begin(&file(content), lines).unwrap(), expect, "{lines} of {content:?}");
        };
        let whole = log.concat();
        check(&whole, 0, at(5));
        check(&whole, 1, at(4));
        check(&whole, 2, at(1));
        check(&whole, 3, 0);
        check(&whole, 99, 0);
        check("", 3, 0);
        check("half an ent", 3, 0);
        // What is half written does not count; a line that has not ended does.
        check(&format!("{whole}2026-01-01T00"), 1, at(4));
        check(&format!("{whole}{}", entry('P', "prompt")), 1, at(5));
        check(&format!("{whole}{}", entry('P', "prompt")), 2, at(4));
        check(&format!("{whole}{}", entry('P', "prompt")), 0, at(5) + entry('P', "prompt").len() as u64);
    }

    #[test]
    fn a_large_file_is_read_at_its_end_only() {
        let line = entry('F', &"x".repeat(1000));
        let content = line.repeat(1000);
        let expect = (line.len() * 990) as u64;
        assert_eq!(begin(&file(&content), 10).unwrap(), expect);
        assert_eq!(begin(&file(&content), 1000).unwrap(), 0);
    }
}
