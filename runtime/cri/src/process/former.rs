//! A keeper of another build meets this daemon. What it says is written by hand here, as a build of before would say it.

use std::path::Path;
use std::time::Duration;

use keeper_api::{Body, Call, Channel, ChannelError, SOCKET};
use sys::poll::{Interest, Poll};
use sys::seqpacket::Listener;

use super::{Processes, ProcessesOptions};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers until it is asked to become another executable or the daemon has gone; what it was asked.
fn serve(listener: &Listener, build: &str) -> Vec<&'static str> {
    let wait = |descriptor: &dyn std::os::fd::AsFd| {
        let poll = Poll::new().expect("epoll");
        poll.add(descriptor.as_fd(), 0, Interest::Read).expect("added");
        assert!(!poll.wait(Some(PATIENCE)).expect("waits").is_empty(), "the daemon asks");
    };
    wait(listener);
    let channel = Channel::new(listener.accept().expect("accepts").expect("somebody connects"));
    let (mut asked, mut buffer) = (Vec::new(), Vec::new());
    loop {
        let (packet, descriptors) = match channel.receive::<Call>(&mut buffer) {
            Ok(received) => received,
            Err(ChannelError::WouldBlock) => {
                wait(&channel);
                continue;
            }
            Err(_) => return asked,
        };
        let answer = match packet.body {
            Call::Hello => {
                asked.push("hello");
                Body::Welcome { pid: 1, instance: 7, build: build.to_owned() }
            }
            Call::List { .. } => {
                asked.push("list");
                Body::Listing { entries: Vec::new(), more: false }
            }
            Call::Upgrade => {
                assert_eq!(descriptors.len(), 1, "the executable");
                asked.push("upgrade");
                Body::Done
            }
            other => panic!("{other:?}"),
        };
        if channel.send(packet.serial, &answer, &[]).is_err() {
            // The daemon has what it wants.
            return asked;
        }
    }
}

async fn check(build: &str, expect: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = Listener::bind(&folder.path().join(SOCKET)).expect("listens");
    let build = build.to_owned();
    let keeper = std::thread::spawn(move || serve(&listener, &build));
    let mut options = ProcessesOptions::new(folder.path().to_owned());
    options.keeper_exe = Path::new("/proc/self/exe").into();
    let processes = Processes::connect(options).await.expect("connects");
    // Answered after what went out before.
    assert_eq!(processes.keeper().await, Some(1));
    drop(processes);
    let asked = tokio::task::spawn_blocking(move || keeper.join().expect("it ends")).await.expect("joined");
    assert_eq!(asked, expect);
}

#[tokio::test]
async fn a_keeper_of_another_build_becomes_this_one() {
    check(&oci::plan::build(), &["hello", "list"]).await;
    // The release alone was its name before plans had a part in it.
    for other in [env!("CARGO_PKG_VERSION"), "0.0.9, plans of version 2", "0.2.0, plans of version 4"] {
        check(other, &["hello", "list", "upgrade"]).await;
    }
}
