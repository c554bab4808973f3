//! The container's terminal: made in its own devpts, so that its name is true inside.
//!
//! Reference: OCI runtime-spec `process.terminal`; the console socket protocol is runc's: one message with the
//! master descriptor and a name.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{OFlags, Uid};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use sys::rooted::{self, Links, Missing};
use sys::{Errno, descriptors, mount, pty};

use super::{Child, Failure};
use crate::plan::Console;

/// devpts.
const DEVPTS_MAGIC: u64 = 0x1cd1;

impl Child {
    pub(super) fn open_console(&mut self, console: &Console) -> Result<(), Failure> {
        let socket = self.console.take();
        let root = self.root_or_slash()?;
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = rooted::open(root, Path::new("dev/pts/ptmx"), flags, Links::Refuse)?;
        if mount::filesystem_magic(&master)? != DEVPTS_MAGIC {
            return Err(Failure::new(Errno::NODEV, "the container has no devpts on /dev/pts"));
        }
        let terminal = pty::peer(master.as_fd())?;
        if console.columns != 0 && console.rows != 0 {
            pty::set_size(&terminal, console.columns, console.rows)?;
        }
        rustix::fs::fchown(&terminal, Some(Uid::from_raw(console.uid)), None)?;
        if console.mount {
            let target =
                rooted::locate_or_make(root, Path::new("dev/console"), Missing::File(0o666), Links::Refuse)?;
            let tree = mount::clone_descriptor(terminal.as_fd(), false)?;
            mount::attach(tree.as_fd(), target.as_fd())?;
        }
        let socket = socket.ok_or_else(|| Failure::new(Errno::BADF, "a terminal needs a console socket"))?;
        send_master(socket.as_fd(), master.as_fd())?;
        pty::set_controlling(terminal.as_fd())?;
        for number in 0..3 {
            descriptors::place(terminal.as_fd(), number)?;
        }
        Ok(())
    }
}

fn send_master(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
