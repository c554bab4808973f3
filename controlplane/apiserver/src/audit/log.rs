//! The file of audit events: one line each, turned over by size, old ones deleted by count and age.
//!
//! ```text
//!   write (any thread) ─► queue of at most QUEUE lines and QUEUE_BYTES, a full one loses and counts ─► one thread ─► file
//! ```
//!
//! An older file is named by when it was closed: `audit-2026-01-31T08-00-00.000.log`, as upstream's.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Events that wait for the disk, at most.
const QUEUE: usize = 10_000;
/// Bytes of them: with whole objects in it, one may have megabytes.
const QUEUE_BYTES: usize = 64 << 20;
/// Megabytes of a file where nothing is said.
const DEFAULT_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_secs(86_400);

/// Where events go.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When it is turned over.
    pub rotation: Rotation,
}

/// Bounds of the files. 0 keeps everything, and 100 MB per file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    /// Megabytes of a file.
    pub max_size: u64,
    /// Older files that are kept.
    pub max_backup: usize,
    /// Days that they are kept.
    pub max_age: u64,
}

/// The queue and its thread, which writes what is queued before it ends.
#[derive(Debug)]
pub struct Log {
    queue: Option<SyncSender<String>>,
    /// Bytes of what is queued.
    waiting: Arc<AtomicUsize>,
    lost: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the file.
    pub fn start(options: LogOptions) -> io::Result<Log> {
        let mut writer = Writer::open(options)?;
        let (queue, lines) = sync_channel(QUEUE);
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = waiting.clone();
        let run = move || writer.run(&lines, &taken);
        let thread = std::thread::Builder::new().name("audit".into()).spawn(run)?;
        Ok(Log { queue: Some(queue), waiting, lost: AtomicU64::new(0), thread: Some(thread) })
    }

    /// Queues a line; never waits.
    pub fn write(&self, line: String) {
        let Some(queue) = &self.queue else { return };
        let bytes = line.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        // One line alone goes, whatever its size.
        let is_room = before == 0 || before + bytes <= QUEUE_BYTES;
        let is_queued = is_room
            && match queue.try_send(line) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !is_queued {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            // Said once per power of two: a disk that stands still would otherwise fill the other log.
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::error!(lost, "audit events are lost: the disk does not keep up");
            }
        }
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is in the log already.
            let _ = thread.join();
        }
    }
}

struct Writer {
    options: LogOptions,
    file: BufWriter<Box<dyn Write + Send>>,
    size: u64,
}

impl Writer {
    fn open(options: LogOptions) -> io::Result<Writer> {
        let (file, size): (Box<dyn Write + Send>, u64) = if is_stdout(&options.path) {
            (Box::new(io::stdout()), 0)
        } else {
            if let Some(folder) = options.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = append(&options.path)?;
            let size = file.metadata()?.len();
            (Box::new(file), size)
        };
        Ok(Writer { options, file: BufWriter::new(file), size })
    }

    fn run(&mut self, lines: &Receiver<String>, waiting: &AtomicUsize) {
        let mut failing = false;
        while let Ok(line) = lines.recv() {
            let mut written = self.line(&line);
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            // Whatever waits goes with it, then the file has it.
            while let Ok(line) = lines.try_recv() {
                written = written.and_then(|()| self.line(&line));
                waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            let written = written.and_then(|()| self.file.flush());
            match written {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::error!(%error, path = %self.options.path.display(), "audit events are not written");
                }
                Err(_) => {}
            }
        }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        let megabytes =
            Some(self.options.rotation.max_size).filter(|size| *size > 0).unwrap_or(DEFAULT_MEGABYTES);
        let length = line.len() as u64 + 1;
        if self.size > 0 && self.size + length > megabytes << 20 && !is_stdout(&self.options.path) {
            self.turn_over()?;
        }
        self.size += length;
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")
    }

    fn turn_over(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let path = &self.options.path;
        std::fs::rename(path, older_name(path, jiff::Timestamp::now()))?;
        self.file = BufWriter::new(Box::new(append(path)?));
        self.size = 0;
        prune(path, self.options.rotation)
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Name and extension of the log's file.
fn name_of(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    (part(path.file_stem()), extension)
}

fn older_name(path: &Path, now: jiff::Timestamp) -> PathBuf {
    let (stem, extension) = name_of(path);
    path.with_file_name(format!("{stem}-{}{extension}", now.strftime("%Y-%m-%dT%H-%M-%S.%3f")))
}

/// Deletes older files beyond the bounds.
fn prune(path: &Path, rotation: Rotation) -> io::Result<()> {
    let (stem, extension) = name_of(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut older = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let time = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
        if time.is_some_and(|time| time.len() == "2026-01-31T08-00-00.000".len()) {
            older.push((name, entry.path(), entry.metadata()?.modified()?));
        }
    }
    // Newest first: their names are their times.
    older.sort_by(|a, b| b.0.cmp(&a.0));
    let limit = DAY * u32::try_from(rotation.max_age).unwrap_or(u32::MAX);
    for (position, (_, path, modified)) in older.iter().enumerate() {
        let many = rotation.max_backup > 0 && position >= rotation.max_backup;
        let old = rotation.max_age > 0 && modified.elapsed().is_ok_and(|age| age > limit);
        if many || old {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_turned_over_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        let rotation = Rotation { max_size: 1, max_backup: 2, max_age: 0 };
        let log = Log::start(LogOptions { path: path.clone(), rotation }).unwrap();
        let line = "x".repeat(400 << 10);
        for _ in 0..9 {
            log.write(line.clone());
            // Names of older files are times: two within a millisecond would be one.
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(log.lost(), 0);
        drop(log);
        let mut names: Vec<String> = path
            .parent()
            .unwrap()
            .read_dir()
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[2], "audit.log");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), (400 << 10) + 1);
        assert_eq!(std::fs::metadata(path.with_file_name(&names[0])).unwrap().len(), 2 * ((400 << 10) + 1));
    }

    #[test]
    fn a_full_queue_loses_and_counts() {
        let (queue, _lines) = sync_channel(1);
        let log = Log { queue: Some(queue), waiting: Arc::default(), lost: AtomicU64::new(0), thread: None };
        for _ in 0..3 {
            log.write("x".into());
        }
        assert_eq!(log.lost(), 2);
        assert_eq!(log.waiting.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_queue_is_full_of_bytes_too() {
        let (queue, _lines) = sync_channel(QUEUE);
        let log = Log { queue: Some(queue), waiting: Arc::default(), lost: AtomicU64::new(0), thread: None };
        let megabyte = "x".repeat(1 << 20);
        for _ in 0..QUEUE_BYTES >> 20 {
            log.write(megabyte.clone());
        }
        assert_eq!(log.lost(), 0);
        log.write("x".into());
        assert_eq!((log.lost(), log.waiting.load(Ordering::Relaxed)), (1, QUEUE_BYTES));
    }
}
