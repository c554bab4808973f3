//! A container's log file: whole entries only, also after a crash.
//!
//! A process that is killed while it writes may leave half an entry; the bytes of that entry are still
//! in the FIFO, because they are taken away only after the write. So the half is cut off when the file
//! is opened again, and written whole.
//!
//! The path is the kubelet's. Rotation: the kubelet renames the file and asks for a new one.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::line::{LONGEST_LINE, LONGEST_PREFIX};

/// How far from its end an unfinished entry can begin.
const LONGEST_ENTRY: usize = LONGEST_LINE + LONGEST_PREFIX;

/// A log file, open for appending.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// The last write failed; the next success says so.
    failing: bool,
    /// Bytes that could not be written.
    lost: u64,
}

impl LogFile {
    /// Opens the file, made with its folders if it is missing, and cuts off an unfinished entry.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        // Where a container can write to the logs' folder, it must not choose the host's file that we append to.
        let careful = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        let options =
            File::options().create(true).read(true).append(true).mode(0o640).custom_flags(careful).clone();
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log is not a regular file"));
        }
        cut_unfinished(&file)?;
        Ok(LogFile { path: path.to_owned(), file, failing: false, lost: 0 })
    }

    /// Appends whole entries. A disk that is full does not stop the container: the entries are lost,
    /// counted, and the log says so in our own log, as other runtimes do.
    pub fn append(&mut self, entries: &[u8]) {
        match self.file.write_all(entries) {
            Ok(()) if !self.failing => {}
            Ok(()) => {
                tracing::warn!(path = %self.path.display(), bytes = self.lost, "a log is written again; entries were lost");
                (self.failing, self.lost) = (false, 0);
            }
            Err(error) => {
                self.lost += entries.len() as u64;
                if !self.failing {
                    tracing::error!(path = %self.path.display(), %error, "a log cannot be written; entries are lost");
                }
                self.failing = true;
                if let Err(error) = cut_unfinished(&self.file) {
                    tracing::debug!(path = %self.path.display(), %error, "an unfinished entry stays");
                }
            }
        }
    }
}

fn cut_unfinished(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let count = length.min(LONGEST_ENTRY as u64) as usize;
    let mut tail = vec![0; count];
    file.read_exact_at(&mut tail, length - count as u64)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    match whole {
        Some(whole) if whole == count => Ok(()),
        Some(whole) => file.set_len(length - (count - whole) as u64),
        None if count as u64 == length => file.set_len(0),
        // No log of ours; at least what follows begins on a line of its own.
        None => (&*file).write_all(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = "x".repeat(2 * LONGEST_ENTRY);
        for (before, after) in [
            ("", "new\n"),
            ("one\ntwo\n", "one\ntwo\nnew\n"),
            ("one\ntw", "one\nnew\n"),
            ("on", "new\n"),
            (long.as_str(), &format!("{long}\nnew\n")),
            (&format!("{long}\nhalf"), &format!("{long}\nnew\n")),
        ] {
            let path = folder.path().join("pod/container/0.log");
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(&path, before).expect("written");
            let mut log = LogFile::open(&path).expect("opens");
            log.append(b"new\n");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), after);
        }
    }

    #[test]
    fn a_link_or_pipe_in_its_place_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let victim = folder.path().join("victim");
        std::fs::write(&victim, "of the host").expect("written");
        let (link, pipe) = (folder.path().join("link.log"), folder.path().join("pipe.log"));
        std::os::unix::fs::symlink(&victim, &link).expect("linked");
        sys::fifo::create(&pipe).expect("made");
        for path in [link, pipe] {
            assert!(LogFile::open(&path).is_err(), "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(&victim).expect("reads"), "of the host");
    }

    #[test]
    fn a_full_disk_loses_whole_entries_only() {
        // A file that takes nothing, without needing a full disk.
        let mut log = LogFile {
            path: "/dev/full".into(),
            file: File::options().read(true).write(true).open("/dev/full").expect("opens"),
            failing: false,
            lost: 0,
        };
        log.append(b"entry\n");
        assert!(log.failing);
        assert_eq!(log.lost, 6);
    }
}
