//! What the kernel tells about links, addresses and routes, as reasons to look again.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use netlink::{Event, Events, Group, NetlinkError, Route};
use rustix::fs::OFlags;
use tokio::io::unix::AsyncFd;

use crate::names::is_pod_link;
use crate::network::PROTOCOL;

/// Datagrams read in one go before others get their turn.
const DATAGRAMS_MAX: usize = 256;

/// An event stream inside the reactor.
pub struct Changes {
    events: Events,
    /// The same socket: readiness comes from here, bytes are read there.
    readable: AsyncFd<OwnedFd>,
}

impl Changes {
    pub fn open(groups: &[Group]) -> anyhow::Result<Changes> {
        let events = Events::open(groups)?;
        let flags = rustix::fs::fcntl_getfl(&events)?;
        rustix::fs::fcntl_setfl(&events, flags | OFlags::NONBLOCK)?;
        // tokio wants an unsafe constructor for descriptors that might be closed early; an OwnedFd is not.
        #[allow(deprecated)]
        let readable = AsyncFd::new(events.as_fd().try_clone_to_owned()?)?;
        Ok(Changes { events, readable })
    }

    /// Waits for events; whether one of them is a reason to look. Nothing is lost when it is dropped meanwhile.
    pub async fn next(&mut self) -> Result<bool, NetlinkError> {
        let talk = |source| NetlinkError::Talk { wanted: "waiting for events".to_owned(), source };
        let mut guard = self.readable.readable().await.map_err(talk)?;
        let mut look = false;
        for _ in 0..DATAGRAMS_MAX {
            match self.events.receive() {
                Ok(events) => look |= events.iter().any(matters),
                Err(NetlinkError::Talk { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(look)
    }
}

/// Pods come over `net.sock`; of their links only the end is news.
fn matters(event: &Event) -> bool {
    let is_ours = |route: &Route| route.protocol == PROTOCOL;
    let is_default = |route: &Route| route.destination.prefix_len() == 0;
    match event {
        Event::Lost | Event::LinkGone(_) | Event::Address(_) | Event::AddressGone(_) => true,
        Event::Link(link) => !is_pod_link(&link.name),
        // What we made ourselves is no news.
        Event::Route(route) => is_default(route) && !is_ours(route),
        Event::RouteGone(route) => is_default(route) || is_ours(route),
        Event::Neighbour(_) | Event::NeighbourGone(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use netlink::Link;

    use super::*;

    #[test]
    fn pods_that_come_are_no_reason_to_look() {
        let link = |name: &str| Link { name: name.to_owned(), ..Link::default() };
        let route = |to: &str, protocol| Route { protocol, ..Route::new(to.parse().unwrap(), None, 7) };
        let check = |event: Event, expect: bool| assert_eq!(matters(&event), expect, "{event:?}");
        check(Event::Link(link("kn0123456789ab")), false);
        check(Event::LinkGone(link("kn0123456789ab")), true);
        check(Event::Link(link("eth0")), true);
        check(Event::Link(link("keelson0")), true);
        check(Event::Route(route("10.244.0.5/32", 4)), false);
        check(Event::RouteGone(route("10.244.0.5/32", 4)), false);
        check(Event::Route(route("0.0.0.0/0", 4)), true);
        check(Event::Route(route("10.244.0.0/16", PROTOCOL)), false);
        check(Event::RouteGone(route("10.244.0.0/16", PROTOCOL)), true);
        check(Event::Lost, true);
    }

    #[tokio::test]
    async fn events_arrive_in_the_reactor() {
        // Loopback's addresses are always there to be read; nothing changes in this test.
        let mut changes = Changes::open(&[Group::Links]).unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(50), changes.next()).await;
        assert!(waited.is_err() || waited.is_ok_and(|look| look.is_ok()));
    }
}
