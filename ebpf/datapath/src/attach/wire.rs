//! XDP in the driver of an uplink: an accelerator, without which everything is the same and slower.
//!
//! The link is pinned as the others are, so a restart of the agent changes nothing; a new program is swapped in. A link
//! has room for one program, so another version's is taken off before ours is attached; meanwhile packets take the way of tc.
//!
//! Never in the kernel's generic mode, which is slower than tc. A veth pair forwards what its program sends back only if the
//! other end takes frames (by a program there), and drops it silently otherwise; so it is accelerated only on demand.
//!
//! Reference: bpf(2), BPF_XDP links, Linux 5.9; programs that see packets in pieces, 5.18.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, Xdp};
use aya_obj::programs::XdpAttachType;

use super::{RELEASE, RELEASES_AWAITED, is_gone, link_error, pin_link};
use crate::config::Acceleration;
use crate::error::DatapathError;
use crate::pins::{self, Pins};

pub(crate) const PROGRAM: &str = "from_wire";

/// Attaches or removes the program of an uplink, as is wished.
pub(crate) fn ensure(
    wished: Acceleration,
    (index, name): (u32, &str),
    pins: &Pins,
    programs: &Path,
) -> Result<(), DatapathError> {
    let pin = pins.links().join(format!("{index}-{PROGRAM}"));
    match wished {
        Acceleration::Disabled => pins::remove(&pin),
        Acceleration::Native => attach(index, name, programs, &pin),
        Acceleration::BestEffort => {
            if kind(index)?.is_some_and(|kind| kind == "veth") {
                tracing::info!(
                    link = name,
                    "not accelerated: the other end of a veth pair may not take frames"
                );
                return pins::remove(&pin);
            }
            if let Err(error) = attach(index, name, programs, &pin) {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::info!(link = name, %error, cause, "not accelerated: packets take the way of tc");
            }
            Ok(())
        }
    }
}

/// What made the link; None: hardware.
fn kind(index: u32) -> Result<Option<String>, DatapathError> {
    let failed = |source| DatapathError::Netlink { source: Box::new(source) };
    let found = netlink::Socket::open().and_then(|mut socket| socket.link_at(index)).map_err(failed)?;
    Ok(found.and_then(|link| link.kind))
}

fn attach(index: u32, name: &str, programs: &Path, pin: &Path) -> Result<(), DatapathError> {
    let failed = |source: ProgramError| DatapathError::Acceleration {
        link: name.to_owned(),
        source: Box::new(source),
    };
    let mut loaded = open(programs).map_err(failed)?;
    if pin.exists() {
        if swap(&mut loaded, pin)? {
            return Ok(());
        }
        pins::remove(pin)?;
    }
    let mut tried = 0;
    let id = loop {
        match loaded.attach_to_if_index(index, XdpMode::Driver) {
            // Another version's, whose pin has just gone: the kernel lets go of it a little later.
            Err(error) if tried < RELEASES_AWAITED && is_busy(&error) => {
                tried += 1;
                std::thread::sleep(RELEASE);
            }
            other => break other.map_err(failed)?,
        }
    };
    let link = loaded.take_link(id).map_err(failed)?;
    pin_link(FdLink::try_from(link).map_err(|source| link_error(pin, source))?, pin)
}

pub(crate) fn open(programs: &Path) -> Result<Xdp, ProgramError> {
    Xdp::from_pin(programs.join(PROGRAM), XdpAttachType::Interface)
}

/// Puts this build's program under a pinned link. False: the link holds nothing any more.
pub(crate) fn renew(pin: &Path, programs: &Path) -> Result<bool, DatapathError> {
    let failed = |source: ProgramError| DatapathError::Acceleration {
        link: pin.display().to_string(),
        source: Box::new(source),
    };
    swap(&mut open(programs).map_err(failed)?, pin)
}

fn swap(program: &mut Xdp, pin: &Path) -> Result<bool, DatapathError> {
    let old = PinnedLink::from_pin(pin).map_err(|source| link_error(pin, source))?;
    let old = XdpLink::try_from(FdLink::from(old)).map_err(|source| link_error(pin, source))?;
    match program.attach_to_link(old) {
        Ok(id) => {
            // The pin holds it.
            drop(program.take_link(id));
            Ok(true)
        }
        Err(ProgramError::SyscallError(error)) if is_gone(&error.io_error) => Ok(false),
        Err(source) => {
            Err(DatapathError::Acceleration { link: pin.display().to_string(), source: Box::new(source) })
        }
    }
}

/// EBUSY: there is a program already.
fn is_busy(error: &ProgramError) -> bool {
    match error {
        ProgramError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::ResourceBusy,
        _ => false,
    }
}
