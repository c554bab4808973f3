//! Whom to ask: the addresses given, or the host's own.
//!
//! The host's file is read again once it has another time of change; it is looked at when somebody asks, at most
//! once in [`LOOK`]. A stub on loopback is left out: in a pod's place it is not there, or it asks us. Where only a
//! stub is named, systemd-resolved's own list is used instead.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

const PORT: u16 = 53;
/// resolv.conf names no more than three; this many are taken.
const MOST: usize = 8;
const LOOK: Duration = Duration::from_secs(5);
/// What systemd-resolved writes for those who want no stub.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

pub(crate) enum Upstreams {
    Given(Arc<[SocketAddr]>),
    Host(Host),
}

/// Follows a resolv.conf.
pub(crate) struct Host {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

struct Seen {
    at: Instant,
    changed: Option<SystemTime>,
    upstreams: Arc<[SocketAddr]>,
}

impl Upstreams {
    pub(crate) fn host(path: &Path) -> Upstreams {
        Upstreams::Host(Host { path: path.to_owned(), seen: Mutex::new(None) })
    }

    pub(crate) fn current(&self) -> Arc<[SocketAddr]> {
        match self {
            Upstreams::Given(upstreams) => upstreams.clone(),
            Upstreams::Host(host) => host.current(),
        }
    }
}

impl Host {
    fn current(&self) -> Arc<[SocketAddr]> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref().filter(|seen| seen.at.elapsed() < LOOK) {
            return seen.upstreams.clone();
        }
        let changed = std::fs::metadata(&self.path).and_then(|meta| meta.modified()).ok();
        let upstreams = match seen.take() {
            Some(seen) if seen.changed == changed && changed.is_some() => seen.upstreams,
            _ => {
                let upstreams = self.read();
                tracing::info!(file = %self.path.display(), ?upstreams, "upstreams");
                upstreams.into()
            }
        };
        *seen = Some(Seen { at: Instant::now(), changed, upstreams: upstreams.clone() });
        upstreams
    }

    fn read(&self) -> Vec<SocketAddr> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_else(|error| {
            tracing::warn!(file = %self.path.display(), %error, "the host's upstreams are unknown");
            String::new()
        });
        let upstreams = parse(&text);
        if upstreams.is_empty() && text.contains("nameserver") {
            return parse(&std::fs::read_to_string(BEHIND_STUB).unwrap_or_default());
        }
        upstreams
    }
}

/// The servers of a resolv.conf that can be asked from anywhere on the host.
fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        // A zone of a link-local address is not carried here.
        let address: IpAddr = words.next()?.parse().ok()?;
        (!address.to_canonical().is_loopback()).then(|| SocketAddr::new(address, PORT))
    });
    servers.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf() {
        let text = "# by hand\nsearch a.b\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n nameserver  2001:db8::1 # x\n\
                    nameserver ::1\nnameserver\nnameserver fe80::1%eth0\noptions ndots:1\n";
        let expect: Vec<SocketAddr> =
            ["192.0.2.1:53", "[2001:db8::1]:53"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(parse(text), expect);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let upstreams = Upstreams::host(&path);
        assert!(upstreams.current().is_empty());
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert!(upstreams.current().is_empty(), "not looked at again yet");
        tokio::time::advance(LOOK).await;
        assert_eq!(upstreams.current().len(), 1);
    }
}
