//! Attaches programs and pins their links, so that they outlive this process.
//!
//! ```text
//! links/<ifindex>-<program>            a tcx link, or XDP's; its program is swapped in place
//! links/clsact-<ifindex>-<program>     a directory: there is a filter, on pods' links at first; see clsact.rs
//! links/cgroup-<inode>-<program>       a cgroup link; the new one is attached and then renamed over the old
//! ```
//!
//! A pod waits for its programs, and a tcx link is made with a grace period of RCU (some 15 ms) during which the lock
//! of all links is held. So a pod gets filters, and links take their place when no pod waits: a round trip costs 1 %
//! less with them. Where both are, the link's verdict is final and the filter is not asked.
//!
//! **Invariants.** At no moment is a place without a program that had one. When a link of the network or a cgroup
//! goes, the kernel takes the program off; the pin then holds nothing and is replaced or forgotten.

pub(crate) mod clsact;
pub(crate) mod wire;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use abi::{PROGRAMS, ProgramKind};
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, CgroupSockAddrAttachType, LinkOrder, ProgramError, ProgramInfo,
    SchedClassifier, TcAttachType,
};

use aya::util::KernelVersion;

use crate::config::Acceleration;
use crate::error::DatapathError;
use crate::pins::{self, Pins};

/// How long the kernel may take to let go of a link: so many times so long.
const RELEASES_AWAITED: u32 = 50;
const RELEASE: std::time::Duration = std::time::Duration::from_millis(10);

/// Where packet programs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The host's end of a pod's veth.
    Pod { link: String },
    /// A link to other machines.
    Uplink { link: String },
    /// The far end of the veth pair that holds the node's routes of pods and services.
    Gateway { peer: String },
}

impl Place {
    fn link(&self) -> &str {
        match self {
            Place::Pod { link } | Place::Uplink { link } | Place::Gateway { peer: link } => link,
        }
    }

    /// Programs for what comes in, and for what the node itself sends out there.
    fn programs(&self) -> &'static [(&'static str, TcAttachType)] {
        match self {
            Place::Pod { .. } => &[("from_pod", TcAttachType::Ingress), ("to_pod", TcAttachType::Egress)],
            Place::Uplink { .. } => {
                &[("from_uplink", TcAttachType::Ingress), ("to_uplink", TcAttachType::Egress)]
            }
            Place::Gateway { .. } => &[("from_host", TcAttachType::Ingress)],
        }
    }
}

/// How packet programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// Links, Linux 6.6.
    Tcx,
    /// Filters.
    Clsact,
}

impl Means {
    pub fn of_this_kernel() -> Means {
        let links = KernelVersion::new(6, 6, 0);
        if KernelVersion::current().is_ok_and(|here| here >= links) { Means::Tcx } else { Means::Clsact }
    }
}

/// Attaches the programs of a place; gives the index of its link.
pub(crate) fn link(place: &Place, means: Means, pins: &Pins, programs: &Path) -> Result<u32, DatapathError> {
    let name = place.link();
    let index = index_of(name)?;
    for (program, direction) in place.programs() {
        attach_one(program, *direction, (index, name), means, pins, programs)?;
    }
    Ok(index)
}

/// The index of a link of this namespace.
pub(crate) fn index_of(name: &str) -> Result<u32, DatapathError> {
    let missing = |_| DatapathError::NoLink { name: name.to_owned() };
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)
        .map_err(missing)?;
    rustix::net::netdevice::name_to_index(&socket, name).map_err(missing)
}

fn attach_one(
    program: &'static str,
    direction: TcAttachType,
    (index, name): (u32, &str),
    means: Means,
    pins: &Pins,
    programs: &Path,
) -> Result<(), DatapathError> {
    let from = programs.join(program);
    let pin = pins.links().join(pin_name(index, program));
    match means {
        // What a pod has is not taken back.
        Means::Tcx if !is_of_pods(program) || pin.exists() => {
            attach_packet(program, direction, name, &from, &pin)
        }
        Means::Tcx | Means::Clsact => {
            filter(program, direction, name, &from)?;
            pins::make_folder(&pins.links().join(clsact::marker(index, program)))
        }
    }
}

/// Attaches wherever another version is attached, so that it can be removed afterwards.
pub(crate) fn adopt(others: &Path, means: Means, pins: &Pins, programs: &Path) -> Result<(), DatapathError> {
    for name in pins::names(others)? {
        let own = || name.split_once('-').and_then(|(index, program)| Some((index.parse().ok()?, program)));
        let Some((index, program)) = clsact::parse(&name).or_else(own) else { continue };
        let known = PROGRAMS.iter().find(|known| known.name == program);
        if let (Some(link), Some(known), Some(direction)) = (name_of(index)?, known, direction_of(program)) {
            attach_one(known.name, direction, (index, &link), means, pins, programs)?;
        }
    }
    Ok(())
}

/// Puts a link in the place of one filter of a pod; whether there was one.
pub(crate) fn promote(pins: &Pins, programs: &Path) -> Result<bool, DatapathError> {
    for marker in pins::names(&pins.links())? {
        let Some((index, name)) = clsact::parse(&marker).filter(|(_, name)| is_of_pods(name)) else {
            continue;
        };
        let known = PROGRAMS.iter().find(|known| known.name == name);
        let (Some(known), Some(direction), Some(link)) = (known, direction_of(name), name_of(index)?) else {
            continue;
        };
        let pin = pins.links().join(pin_name(index, name));
        attach_packet(known.name, direction, &link, &programs.join(name), &pin)?;
        clsact::detach(&link, direction);
        pins::remove(&pins.links().join(marker))?;
        return Ok(true);
    }
    Ok(false)
}

/// Whether a program is on a link, by whatever means.
pub(crate) fn is_attached(pins: &Pins, index: u32, program: &str) -> bool {
    let links = pins.links();
    links.join(pin_name(index, program)).exists() || links.join(clsact::marker(index, program)).exists()
}

/// The name of a link's pin.
fn pin_name(index: u32, program: &str) -> String {
    format!("{index}-{program}")
}

fn filter(
    program: &'static str,
    direction: TcAttachType,
    link: &str,
    from: &Path,
) -> Result<(), DatapathError> {
    let failed = |source: ProgramError| DatapathError::Attach {
        program,
        place: link.to_owned(),
        source: Box::new(source),
    };
    let mut loaded = SchedClassifier::from_pin(from).map_err(failed)?;
    clsact::attach(&mut loaded, link, direction).map_err(failed)
}

fn is_of_pods(program: &str) -> bool {
    matches!(program, "from_pod" | "to_pod")
}

/// The side on which a program is attached.
fn direction_of(program: &str) -> Option<TcAttachType> {
    match program {
        "from_pod" | "from_host" | "from_uplink" => Some(TcAttachType::Ingress),
        "to_pod" | "to_uplink" => Some(TcAttachType::Egress),
        _ => None,
    }
}

/// The name of a link of this namespace.
fn name_of(index: u32) -> Result<Option<String>, DatapathError> {
    let failed = |source| DatapathError::Netlink { source: Box::new(source) };
    let found = netlink::Socket::open().and_then(|mut socket| socket.link_at(index)).map_err(failed)?;
    Ok(found.map(|link| link.name))
}

fn attach_packet(
    program: &'static str,
    direction: TcAttachType,
    link: &str,
    from: &Path,
    pin: &Path,
) -> Result<(), DatapathError> {
    let failed = |source: ProgramError| DatapathError::Attach {
        program,
        place: link.to_owned(),
        source: Box::new(source),
    };
    let mut loaded = SchedClassifier::from_pin(from).map_err(failed)?;
    if pin.exists() {
        if swap(&mut loaded, pin)? {
            return Ok(());
        }
        // The link it was for is gone, and its index has been given to another one.
        pins::remove(pin)?;
    }
    let mut tried = 0;
    let id = loop {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        match loaded.attach_with_options(link, direction, options) {
            // A link whose pin has just gone: the kernel lets go of it a little later.
            Err(error) if tried < RELEASES_AWAITED && is_taken(&error) => {
                tried += 1;
                std::thread::sleep(RELEASE);
            }
            other => break other.map_err(failed)?,
        }
    };
    let link = loaded.take_link(id).map_err(failed)?;
    pin_link(FdLink::try_from(link).map_err(|source| link_error(pin, source))?, pin)
}

/// EEXIST: the same program is there already.
fn is_taken(error: &ProgramError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::AlreadyExists) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Puts the program under the pinned link. False: the link holds nothing any more.
fn swap(program: &mut SchedClassifier, pin: &Path) -> Result<bool, DatapathError> {
    let old = PinnedLink::from_pin(pin).map_err(|source| link_error(pin, source))?;
    let old = FdLink::from(old);
    let wanted = program.info().map(|info: ProgramInfo| info.id()).ok();
    let there = old.info().map_err(|source| link_error(pin, source))?.program_id();
    let old = SchedClassifierLink::try_from(old).map_err(|source| link_error(pin, source))?;
    match program.attach_to_link(old) {
        Ok(id) => {
            // Ours again, so that it is not detached when `program` goes: the pin holds it.
            drop(program.take_link(id));
            if wanted != Some(there) {
                tracing::debug!(pin = %pin.display(), "program replaced");
            }
            Ok(true)
        }
        Err(ProgramError::SyscallError(error)) if is_gone(&error.io_error) => Ok(false),
        Err(source) => Err(DatapathError::Attach {
            program: "its successor",
            place: pin.display().to_string(),
            source: Box::new(source),
        }),
    }
}

/// ENOLINK: what the link was for no longer exists.
fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NOLINK.raw_os_error())
}

/// Puts this build's programs under every link that is pinned, and in the place of every filter.
pub(crate) fn refresh(pins: &Pins, programs: &Path, acceleration: Acceleration) -> Result<(), DatapathError> {
    for name in pins::names(&pins.links())? {
        let Some((place, program)) = name.rsplit_once('-') else { continue };
        if place.starts_with("cgroup-") {
            continue;
        }
        if program == wire::PROGRAM {
            let pin = pins.links().join(&name);
            if acceleration == Acceleration::Disabled || !wire::renew(&pin, programs)? {
                pins::remove(&pin)?;
            }
            continue;
        }
        let failed = |source| DatapathError::Attach {
            program: "a program",
            place: name.clone(),
            source: Box::new(source),
        };
        let pin = pins.links().join(&name);
        let mut loaded = SchedClassifier::from_pin(programs.join(program)).map_err(failed)?;
        let there = match clsact::parse(&name) {
            Some((index, program)) => match (name_of(index)?, direction_of(program)) {
                (Some(link), Some(direction)) => {
                    clsact::attach(&mut loaded, &link, direction).map(|()| true).map_err(failed)?
                }
                _ => false,
            },
            None => swap(&mut loaded, &pin)?,
        };
        if !there {
            pins::remove(&pin)?;
        }
    }
    Ok(())
}

/// Removes pins of links whose network device is gone.
pub(crate) fn forget_vanished(pins: &Pins) -> Result<usize, DatapathError> {
    let mut forgotten = 0;
    for name in pins::names(&pins.links())? {
        if name.starts_with("cgroup-") {
            continue;
        }
        let own = || name.split_once('-').and_then(|(index, _)| index.parse::<u32>().ok());
        let index = clsact::parse(&name).map(|(index, _)| index).or_else(own);
        let found = match index {
            Some(index) => name_of(index)?,
            None => None,
        };
        if found.is_none() {
            pins::remove(&pins.links().join(&name))?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// Attaches the socket hooks to a cgroup2 directory and takes them off any other.
pub(crate) fn sockets(cgroup: &Path, pins: &Pins, programs: &Path) -> Result<(), DatapathError> {
    let failed =
        |source| DatapathError::Files { doing: "opening the cgroup", path: cgroup.to_owned(), source };
    let folder = File::open(cgroup).map_err(failed)?;
    let inode = folder.metadata().map_err(failed)?.ino();
    let prefix = format!("cgroup-{inode}-");
    for program in PROGRAMS {
        let ProgramKind::Socket(hook) = program.kind else { continue };
        let Some(hook) = attach_type(hook) else { continue };
        let pin = pins.links().join(format!("{prefix}{}", program.name));
        attach_socket(program.name, hook, &folder, cgroup, &programs.join(program.name), &pin)?;
    }
    for name in pins::names(&pins.links())? {
        if name.starts_with("cgroup-") && !name.starts_with(&prefix) {
            pins::remove(&pins.links().join(name))?;
        }
    }
    Ok(())
}

fn attach_socket(
    program: &'static str,
    hook: CgroupSockAddrAttachType,
    cgroup: &File,
    path: &Path,
    from: &Path,
    pin: &Path,
) -> Result<(), DatapathError> {
    let failed = |source: ProgramError| DatapathError::Attach {
        program,
        place: path.display().to_string(),
        source: Box::new(source),
    };
    let mut loaded = CgroupSockAddr::from_pin(from, hook).map_err(failed)?;
    let wanted = loaded.info().map_err(failed)?.id();
    if let Ok(old) = PinnedLink::from_pin(pin) {
        let there = FdLink::from(old).info().map_err(|source| link_error(pin, source))?.program_id();
        if there == wanted {
            return Ok(());
        }
    }
    // Both run for a moment: what the first has translated is no service to the second.
    // A link always is one of several; the kernel wants no flag that says so.
    let id = loaded.attach(cgroup, CgroupAttachMode::Single).map_err(failed)?;
    let link: CgroupSockAddrLink = loaded.take_link(id).map_err(failed)?;
    let link = FdLink::try_from(link).map_err(|source| link_error(pin, source))?;
    let fresh = PathBuf::from(format!("{}_new", pin.display()));
    pins::remove(&fresh)?;
    pin_link(link, &fresh)?;
    fs::rename(&fresh, pin).map_err(|source| DatapathError::Files {
        doing: "renaming the new link to",
        path: pin.to_owned(),
        source,
    })
}

fn attach_type(hook: &str) -> Option<CgroupSockAddrAttachType> {
    Some(match hook.strip_prefix("cgroup/")? {
        "connect4" => CgroupSockAddrAttachType::Connect4,
        "connect6" => CgroupSockAddrAttachType::Connect6,
        "sendmsg4" => CgroupSockAddrAttachType::UDPSendMsg4,
        "sendmsg6" => CgroupSockAddrAttachType::UDPSendMsg6,
        "recvmsg4" => CgroupSockAddrAttachType::UDPRecvMsg4,
        "recvmsg6" => CgroupSockAddrAttachType::UDPRecvMsg6,
        "getpeername4" => CgroupSockAddrAttachType::GetPeerName4,
        "getpeername6" => CgroupSockAddrAttachType::GetPeerName6,
        _ => return None,
    })
}

fn pin_link(link: FdLink, pin: &Path) -> Result<(), DatapathError> {
    link.pin(pin)
        .map(drop)
        .map_err(|source| DatapathError::Pin { path: pin.to_owned(), source: Box::new(source) })
}

fn link_error(pin: &Path, source: aya::programs::links::LinkError) -> DatapathError {
    DatapathError::Link { path: pin.to_owned(), source: Box::new(source) }
}
