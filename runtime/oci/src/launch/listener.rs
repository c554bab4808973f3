//! Hands a seccomp filter's listener to the process that answers for it, with the container's state.
//!
//! It never blocks: a process that does not take the connection at once fails the container.
//!
//! Reference: OCI runtime-spec `config-linux.md` "The Container Process State".

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use sys::Errno;

use super::LaunchError;
use crate::hooks;
use crate::plan::Listener;

pub(super) fn deliver(
    listener: Option<&Listener>,
    pid: i32,
    descriptor: BorrowedFd<'_>,
) -> Result<(), LaunchError> {
    // A plan whose filter notifies has one.
    let Some(listener) = listener else { return Err(LaunchError::Garbled) };
    send(listener, pid, descriptor)
        .map_err(|errno| LaunchError::Listener { path: listener.path.clone(), errno })
}

fn send(listener: &Listener, pid: i32, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&listener.path)?)?;
    let message = message(listener, pid);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = rustix::net::sendmsg(
        &socket,
        &[IoSlice::new(message.as_bytes())],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    if sent == message.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

/// `ContainerProcessState`.
fn message(listener: &Listener, pid: i32) -> String {
    let state = hooks::complete_state(&listener.state, pid, listener.status.name());
    // The state comes from `container`, whole but for what was just added.
    let state: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
    serde_json::json!({
        "ociVersion": state["ociVersion"].as_str().unwrap_or("1.2.0"),
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": listener.metadata,
        "state": state,
    })
    .to_string()
}
