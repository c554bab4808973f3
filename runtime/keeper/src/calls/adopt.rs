//! Adopt: take over a process that an earlier keeper cloned.
//!
//! Its parent is somebody else now, so its end is seen by pidfd, not by wait(2).

use std::os::fd::OwnedFd;

use keeper_api::{Adopt, Failure, FailureKind, Stream};

use crate::calls::{launch, system, too_few_descriptors};
use crate::clients::ClientNumber;
use crate::processes::{Process, Stage};
use crate::server::Keeper;

/// Takes a process over; one that is here already gets what it lacks and learns to whom it is tied.
pub fn adopt(
    keeper: &mut Keeper,
    client: ClientNumber,
    adopt: Adopt,
    descriptors: Vec<OwnedFd>,
) -> Result<(), Failure> {
    let tied = adopt.tied.then_some(client);
    if let Some(process) = keeper.processes.get_mut(&adopt.id) {
        process.tied = tied;
        let (_, pty, held) = sort(&adopt, descriptors)?;
        process.pty = process.pty.take().or(pty);
        for (stream, descriptor) in held {
            if !process.held.iter().any(|(already, _)| *already == stream) {
                process.held.push((stream, descriptor));
            }
        }
        return Ok(());
    }
    if keeper.processes.is_full() {
        let message = "the table of processes is full: forget ended ones".into();
        return Err(Failure { kind: FailureKind::Full, message });
    }
    let (pidfd, pty, held) = sort(&adopt, descriptors)?;
    let number = keeper.processes.next_number();
    let process = Process {
        number,
        pid: adopt.pid,
        pidfd,
        started_at_nanoseconds: adopt.started_at_nanoseconds,
        ours: false,
        tied,
        held,
        pty,
        stage: Stage::Running,
    };
    keeper.processes.insert(adopt.id, process, &keeper.poll).map_err(|e| system("watch a process", &e))?;
    // It may have ended before it was watched.
    launch::ended(keeper, number);
    Ok(())
}

type Sorted = (OwnedFd, Option<OwnedFd>, Vec<(Stream, OwnedFd)>);

/// Sorts the descriptors of an adoption by what they are.
fn sort(adopt: &Adopt, descriptors: Vec<OwnedFd>) -> Result<Sorted, Failure> {
    let mut descriptors = descriptors.into_iter();
    let pidfd = descriptors.next().ok_or_else(too_few_descriptors)?;
    let pty = if adopt.pty { Some(descriptors.next().ok_or_else(too_few_descriptors)?) } else { None };
    let held: Vec<_> = adopt.held.iter().copied().zip(descriptors.by_ref()).collect();
    if held.len() != adopt.held.len() || descriptors.next().is_some() {
        return Err(too_few_descriptors());
    }
    Ok((pidfd, pty, held))
}
