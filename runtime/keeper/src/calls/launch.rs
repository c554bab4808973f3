//! Launch: clone a child, follow it to the program, and to its end.

use std::os::fd::{AsFd, OwnedFd};

use keeper_api::{Body, Exit, Failure, FailureKind, Launch};
use sys::seqpacket::Conn;

use crate::calls::{system, too_few_descriptors};
use crate::clients::ClientNumber;
use crate::launcher::{Fds, Progress};
use crate::processes::{Asker, Launching, Process, ProcessNumber, Stage};
use crate::server::{Keeper, now_nanoseconds};

/// Clones a child; the answers come as it goes along.
pub fn begin(
    keeper: &mut Keeper,
    client: ClientNumber,
    serial: u64,
    launch: Launch,
    descriptors: Vec<OwnedFd>,
) -> Result<(), Failure> {
    let refuse = |kind, message: String| Err(Failure { kind, message });
    if keeper.processes.get_mut(&launch.id).is_some() {
        return refuse(FailureKind::Exists, format!("there is a process {} already", launch.id));
    }
    if keeper.processes.is_full() {
        return refuse(FailureKind::Full, "the table of processes is full: forget ended ones".into());
    }
    let (console, theirs) = if launch.tty {
        let (ours, theirs) = Conn::pair().map_err(|e| system("a console socket", &e))?;
        (Some(ours), Some(OwnedFd::from(theirs)))
    } else {
        (None, None)
    };
    let (fds, held) = sort(&launch, descriptors, theirs).ok_or_else(too_few_descriptors)?;
    let child = keeper.launcher.start(fds)?;
    keeper.launches += 1;
    let pidfd = child.pidfd().try_clone_to_owned().map_err(|e| system("copy a pidfd", &e))?;
    let process = Process {
        number: keeper.processes.next_number(),
        pid: child.pid(),
        pidfd,
        started_at_nanoseconds: now_nanoseconds(),
        ours: true,
        tied: launch.tied.then_some(client),
        held,
        pty: None,
        stage: Stage::Launching(Launching { child, console, asker: Some(Asker { client, serial }) }),
    };
    keeper.processes.insert(launch.id, process, &keeper.poll).map_err(|e| system("watch a process", &e))
}

/// Sorts the descriptors of a launch by what they are for.
fn sort(
    launch: &Launch,
    descriptors: Vec<OwnedFd>,
    console: Option<OwnedFd>,
) -> Option<(Fds, Vec<(keeper_api::Stream, OwnedFd)>)> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next();
    let (plan, stdio, gate) = (next()?, [next()?, next()?, next()?], next()?);
    let cgroup = if launch.cgroup { Some(next()?) } else { None };
    let mut held = Vec::with_capacity(launch.held.len());
    for stream in &launch.held {
        held.push((*stream, next()?));
    }
    let preserve: Vec<OwnedFd> = descriptors.collect();
    let complete = preserve.len() == usize::from(launch.preserve);
    complete.then_some((Fds { plan, stdio, gate, cgroup, console, preserve }, held))
}

/// A child on its way has something to do.
pub fn advance(keeper: &mut Keeper, number: ProcessNumber) {
    let Some((_, process)) = keeper.processes.by_number(number) else { return };
    let Stage::Launching(launching) = &mut process.stage else { return };
    let (pid, started_at_nanoseconds) = (process.pid, process.started_at_nanoseconds);
    let progress = launching.child.advance();
    let asker = launching.asker;
    match progress {
        Ok(Progress::Waiting) => {}
        Ok(Progress::AtGate) => {
            let Some(asker) = asker else { return };
            let Ok(pidfd) = process.pidfd.try_clone() else { return process.kill() };
            keeper.send(
                asker.client,
                asker.serial,
                Body::AtGate { pid, started_at_nanoseconds },
                &[pidfd.as_fd()],
            );
        }
        Ok(Progress::Running) => started(keeper, number),
        Err(failure) => {
            keeper.poll.remove(launching.child.readiness());
            process.kill();
            process.stage = Stage::Failing { asker, failure };
            ended(keeper, number);
        }
    }
}

fn started(keeper: &mut Keeper, number: ProcessNumber) {
    let Some((_, process)) = keeper.processes.by_number(number) else { return };
    let Stage::Launching(launching) = std::mem::replace(&mut process.stage, Stage::Running) else { return };
    keeper.poll.remove(launching.child.readiness());
    process.pty = launching.console.as_ref().and_then(|console| {
        // The child sent it before it became the program, so it is there.
        console.receive(&mut [0; 64]).ok()?.descriptors.into_iter().next()
    });
    let body = Body::Started {
        pid: process.pid,
        started_at_nanoseconds: process.started_at_nanoseconds,
        pty: process.pty.is_some(),
    };
    let copies = [Some(&process.pidfd), process.pty.as_ref()].into_iter().flatten().map(OwnedFd::try_clone);
    let copies: Result<Vec<OwnedFd>, _> = copies.collect();
    match (launching.asker, copies) {
        (Some(asker), Ok(copies)) => {
            let descriptors: Vec<_> = copies.iter().map(AsFd::as_fd).collect();
            keeper.send(asker.client, asker.serial, body, &descriptors);
        }
        _ => process.kill(),
    }
}

/// A pidfd reports: the process has ended, or is about to.
pub fn ended(keeper: &mut Keeper, number: ProcessNumber) {
    if let Some((_, process)) = keeper.processes.by_number(number)
        && matches!(process.stage, Stage::Launching(_))
    {
        // What it said last comes first; if that was an error, this function was called from there.
        advance(keeper, number);
        if let Some((_, process)) = keeper.processes.by_number(number)
            && let Stage::Launching(launching) = &process.stage
        {
            let failure = Failure {
                kind: FailureKind::Launch { step: "launch".into(), errno: 0 },
                message: "the child ended before it became the program".into(),
            };
            keeper.poll.remove(launching.child.readiness());
            process.stage = Stage::Failing { asker: launching.asker, failure };
        }
    }
    let Some((id, process)) = keeper.processes.by_number(number) else { return };
    if matches!(process.stage, Stage::Ended(_)) {
        return;
    }
    let Some(exit) = process.look() else { return };
    keeper.poll.remove(&process.pidfd);
    let tied = process.tied;
    match std::mem::replace(&mut process.stage, Stage::Ended(exit)) {
        Stage::Failing { asker, failure } => {
            keeper.processes.remove(&id, &keeper.poll);
            if let Some(asker) = asker {
                keeper.send(asker.client, asker.serial, Body::Failed(failure), &[]);
            }
        }
        _ => over(keeper, id, exit, tied),
    }
}

fn over(keeper: &mut Keeper, id: keeper_api::ProcessId, exit: Exit, tied: Option<ClientNumber>) {
    tracing::debug!(%id, code = exit.code(), "a process ended");
    let orphan = tied.is_some_and(|client| keeper.clients.channel(client).is_none());
    keeper.broadcast(&Body::Exited { id: id.clone(), exit });
    if orphan {
        keeper.processes.remove(&id, &keeper.poll);
    }
}
