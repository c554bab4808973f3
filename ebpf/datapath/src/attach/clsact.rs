//! Filters on a clsact queueing discipline: for pods while they wait, and for kernels before 6.6, which have no tcx links.
//!
//! A filter outlives its loader by itself, but nothing shows whose it is. So a directory
//! `links/clsact-<ifindex>-<program>` remembers it, and ours have a priority and a handle of their own, under which
//! a successor replaces the program in one step. The discipline stays when the filters go: others may use it.
//!
//! Reference: tc-bpf(8), direct action.

use std::path::Path;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};

use super::direction_of;
use crate::error::DatapathError;
use crate::pins::{self, Pins};

/// "KL": before the filters of others that let the kernel choose.
const PRIORITY: u16 = 0x4b4c;
const HANDLE: TcHandle = TcHandle::new(0, 1);
const PREFIX: &str = "clsact-";

/// The name of the directory that remembers a filter.
pub(super) fn marker(index: u32, program: &str) -> String {
    format!("{PREFIX}{index}-{program}")
}

/// Index and program of a marker.
pub(crate) fn parse(name: &str) -> Option<(u32, &str)> {
    let (index, program) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((index.parse().ok()?, program))
}

/// Puts the program on the link, in the place of an earlier one of ours.
pub(super) fn attach(
    program: &mut SchedClassifier,
    link: &str,
    direction: TcAttachType,
) -> Result<(), ProgramError> {
    // There already, or the attempt below says why not.
    let _ = qdisc_add_clsact(link);
    if let Ok(there) = SchedClassifierLink::attached(link, direction, PRIORITY, HANDLE, None)
        && let Ok(id) = program.attach_to_link(there)
    {
        return program.take_link(id).map(keep);
    }
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    let id = program.attach_with_options(link, direction, TcAttachOptions::Netlink(options))?;
    program.take_link(id).map(keep)
}

/// Its drop would take the program off the link.
fn keep(link: SchedClassifierLink) {
    std::mem::forget(link);
}

/// Takes our filter off a link.
pub(super) fn detach(link: &str, direction: TcAttachType) {
    // Its drop does it; one that is gone already is gone.
    drop(SchedClassifierLink::attached(link, direction, PRIORITY, HANDLE, None));
}

/// Takes every filter that is remembered off its link.
pub(crate) fn detach_all(pins: &Pins) -> Result<(), DatapathError> {
    detach_in(&pins.links())
}

/// As [`detach_all`], for the links of any version.
pub(crate) fn detach_in(links: &Path) -> Result<(), DatapathError> {
    for name in pins::names(links)? {
        let Some((index, program)) = parse(&name) else { continue };
        if let (Some(link), Some(direction)) = (super::name_of(index)?, direction_of(program)) {
            detach(&link, direction);
        }
        pins::remove(&links.join(name))?;
    }
    Ok(())
}
