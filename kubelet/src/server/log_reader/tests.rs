//! Logs on a real disk: growing, rotated, cut short, replaced by something else.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn line(text: &str) -> String {
    format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n")
}

fn append(path: &Path, text: &str) {
    File::options().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A container that runs until told otherwise.
fn container() -> (Arc<AtomicBool>, watch::Sender<u64>, Growth) {
    let lives = Arc::new(AtomicBool::new(true));
    let sender = watch::Sender::new(0);
    let asked = lives.clone();
    let growth =
        Growth { lives: Box::new(move || asked.load(Ordering::SeqCst)), changes: sender.subscribe() };
    (lives, sender, growth)
}

struct Following {
    stream: std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    text: String,
}

impl Following {
    async fn open(path: &Path, options: Options, watches: &LogWatches, growth: Growth) -> Following {
        let reader = LogReader::open(path, options, watches, growth).await.unwrap();
        Following { stream: Box::pin(reader.stream()), text: String::new() }
    }

    async fn until(&mut self, expect: &str) {
        while self.text != expect {
            let piece = timeout(PATIENCE, self.stream.next()).await;
            match piece.unwrap_or_else(|_| panic!("{:?} instead of {expect:?}", self.text)) {
                Some(piece) => self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap()),
                None => panic!("it ended with {:?} instead of {expect:?}", self.text),
            }
        }
    }

    async fn silent(&mut self) {
        let more = timeout(Duration::from_millis(200), self.stream.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    async fn end(mut self) {
        let more = timeout(PATIENCE, self.stream.next()).await.expect("it ends");
        assert!(more.is_none(), "{more:?}");
    }
}

fn follow() -> Options {
    Options { follow: true, ..Options::default() }
}

#[tokio::test]
async fn a_log_is_followed_over_its_rotation_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    append(&path, &line("1"));
    let (lives, changes, growth) = container();
    let watches = LogWatches::default();
    let mut following = Following::open(&path, follow(), &watches, growth).await;
    following.until("1\n").await;
    following.silent().await;
    append(&path, &line("2"));
    following.until("1\n2\n").await;
    // Half an entry is not told before it is whole.
    let (half, rest) = (line("3")[..20].to_owned(), line("3")[20..].to_owned());
    append(&path, &half);
    following.silent().await;
    append(&path, &rest);
    following.until("1\n2\n3\n").await;
    // Rotation: renamed, still written to, then made anew.
    let old = folder.path().join("0.log.20260101-000000");
    std::fs::rename(&path, &old).unwrap();
    append(&old, &line("4"));
    following.until("1\n2\n3\n4\n").await;
    append(&old, &line("5"));
    append(&path, &line("6"));
    following.until("1\n2\n3\n4\n5\n6\n").await;
    following.silent().await;
    append(&path, &line("7"));
    lives.store(false, Ordering::SeqCst);
    changes.send_modify(|count| *count += 1);
    following.until("1\n2\n3\n4\n5\n6\n7\n").await;
    following.end().await;
    assert_eq!(watches.len(), 0, "nobody follows any more");
}

#[tokio::test]
async fn many_readers_share_one_watch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    append(&path, &line("1"));
    let watches = LogWatches::default();
    let (_lives, _changes, first) = container();
    let (_lives, _changes, second) = container();
    let mut one = Following::open(&path, follow(), &watches, first).await;
    let options = Options { tail: Some(0), ..follow() };
    let mut two = Following::open(&path, options, &watches, second).await;
    assert_eq!(watches.len(), 1);
    append(&path, &line("2"));
    one.until("1\n2\n").await;
    two.until("2\n").await;
    drop(one);
    assert_eq!(watches.len(), 1);
    append(&path, &line("3"));
    two.until("2\n3\n").await;
    drop(two);
    assert_eq!(watches.len(), 0);
}

#[tokio::test]
async fn what_is_not_followed_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    let many: String = (0..5000).map(|number| line(&number.to_string())).collect();
    append(&path, &many);
    let check = async |options: Options, expect: String| {
        let (_lives, _changes, growth) = container();
        let mut reading = Following::open(&path, options, &LogWatches::default(), growth).await;
        reading.until(&expect).await;
        reading.end().await;
    };
    let all: String = (0..5000).map(|number| format!("{number}\n")).collect();
    check(Options::default(), all.clone()).await;
    check(Options { tail: Some(2), ..Options::default() }, "4998\n4999\n".into()).await;
    check(Options { limit: Some(7), ..Options::default() }, all[..7].into()).await;
    check(Options { limit: Some(3), tail: Some(1), follow: true, ..Options::default() }, "499".into()).await;
}

#[tokio::test]
async fn a_log_that_was_cut_short_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    append(&path, &line("first"));
    let (_lives, _changes, growth) = container();
    let watches = LogWatches::default();
    let mut following = Following::open(&path, follow(), &watches, growth).await;
    following.until("first\n").await;
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    following.silent().await;
    append(&path, &line("2nd"));
    following.until("first\n2nd\n").await;
}

#[tokio::test]
async fn links_and_pipes_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    append(&secret, "of the host");
    let (link, pipe) = (folder.path().join("link.log"), folder.path().join("pipe.log"));
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    sys::fifo::create(&pipe).unwrap();
    for path in [link, pipe, folder.path().to_owned()] {
        let (_lives, _changes, growth) = container();
        let opened = LogReader::open(&path, follow(), &LogWatches::default(), growth).await;
        assert!(opened.is_err(), "{}", path.display());
    }
}

/// How often this thread has gone to sleep.
fn sleeps(thread: rustix::thread::Pid) -> u64 {
    let path = format!("/proc/self/task/{}/status", thread.as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

/// One follower in a thread of its own, with all that wakes it: the reader of folders' changes and the timers of its
/// runtime. While nothing is written the thread sleeps on. Only it is counted, so load and other work do not matter:
/// what makes a process wait for a processor is not voluntary. Any polling is seen: one look at the file, even once
/// in the two seconds, is three sleeps (the timer, reading, asking for a successor, both by another thread).
#[test]
fn a_silent_log_wakes_nobody() {
    const SILENCE: Duration = Duration::from_secs(2);
    const SLEEPS_OF_A_LOOK: u64 = 3;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.log");
    append(&path, &line("1"));
    let (lives, changes, growth) = container();
    let (told, hears) = std::sync::mpsc::channel();
    let log = path.clone();
    let follower = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let watches = LogWatches::default();
            let reader = LogReader::open(&log, follow(), &watches, growth).await.unwrap();
            let mut stream = Box::pin(reader.stream());
            while let Some(piece) = stream.next().await {
                told.send((rustix::thread::gettid(), piece.unwrap())).unwrap();
            }
        });
    });
    let (thread, _) = hears.recv_timeout(PATIENCE).expect("the first line");
    // It goes to sleep for good: two looks in a row find the same.
    let began = std::time::Instant::now();
    let mut before = sleeps(thread);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        match sleeps(thread) {
            same if same == before => break,
            more => before = more,
        }
        assert!(began.elapsed() < PATIENCE, "it does not come to rest");
    }
    // Whoever polls does so in each of them; what the kernel does to a thread now and then is in one.
    let least = (0..3).map(|_| {
        let before = sleeps(thread);
        std::thread::sleep(SILENCE);
        sleeps(thread) - before
    });
    let least = least.min().unwrap();
    assert!(least < SLEEPS_OF_A_LOOK, "woken {least} times while nothing happened");
    append(&path, &line("2"));
    assert_eq!(hears.recv_timeout(PATIENCE).expect("it still follows").1, "2\n");
    lives.store(false, Ordering::SeqCst);
    changes.send_modify(|count| *count += 1);
    follower.join().unwrap();
}
