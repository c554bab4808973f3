//! The configuration folder: which file counts, and reading it again when it changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cni_api::NetworkList;
use inotify::{Inotify, WatchMask};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::{Configuration, Networks};

/// The largest configuration that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
const EXTENSIONS: &[&str] = &["conflist", "conf", "json"];
/// Room for a burst of events; more are read in the next turn.
const EVENT_BYTES: usize = 4096;

/// The first readable file by name. The text says why there is none.
pub fn load(folder: &Path) -> Result<Configuration, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e)))
        .collect();
    files.sort();
    let mut why = format!("no network config found in {}", folder.display());
    for file in files {
        match read(&file) {
            Ok((text, list)) => return Ok(Configuration { file, text, list }),
            Err(error) => why = format!("{}: {error}", file.display()),
        }
    }
    Err(why)
}

fn read(file: &Path) -> Result<(String, NetworkList), String> {
    let length = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes are no network configuration"));
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let list = NetworkList::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok((text, list))
}

/// Reloads the networks whenever the folder changes, until cancelled. A folder that does not exist is made,
/// so that there is something to watch.
pub async fn watch(networks: Arc<Networks>, cancel: CancellationToken) -> io::Result<()> {
    fs::create_dir_all(networks.conf_dir())?;
    let inotify = Inotify::init()?;
    let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::MOVED_FROM | WatchMask::DELETE;
    inotify.watches().add(networks.conf_dir(), mask)?;
    networks.reload();
    #[allow(deprecated, reason = "its replacement is unsafe to call; inotify owns its descriptor")]
    let mut ready = AsyncFd::new(inotify)?;
    let mut buffer = [0u8; EVENT_BYTES];
    loop {
        let mut guard = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            guard = ready.readable_mut() => guard?,
        };
        match guard.get_inner_mut().read_events(&mut buffer) {
            Ok(_) => networks.reload(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_readable_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(load(folder.path()).unwrap_err().contains("no network config found"));
        write("00-note.txt", "not a configuration");
        write("05-broken.conf", "{");
        assert!(load(folder.path()).unwrap_err().contains("05-broken.conf"));
        write("20-b.conf", r#"{"cniVersion":"1.0.0","name":"b","type":"bridge"}"#);
        write("10-a.conflist", r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"x"}]}"#);
        assert_eq!(load(folder.path()).unwrap().list.name, "a");
    }

    #[tokio::test]
    async fn a_new_file_is_seen_without_asking() {
        let folder = tempfile::tempdir().unwrap();
        let networks = Arc::new(Networks::new(folder.path().join("net.d"), "/opt/cni/bin".into()));
        let cancel = CancellationToken::new();
        let watcher = tokio::spawn(watch(networks.clone(), cancel.clone()));
        let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while !folder.path().join("net.d").exists() {
            tokio::task::yield_now().await;
        }
        let text = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"x"}]}"#;
        fs::write(folder.path().join("net.d/10-n.conflist"), text).unwrap();
        while networks.current().is_err() {
            assert!(tokio::time::Instant::now() < limit, "the change is seen");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        cancel.cancel();
        watcher.await.unwrap().unwrap();
    }
}
