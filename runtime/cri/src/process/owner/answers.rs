//! What the keeper's answers and its death mean to open questions.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use keeper_api::Body;

use super::{Owner, Question, died};
use crate::process::launch::{self, Asked};
use crate::process::table::Process;
use crate::process::{CallError, LaunchError, Running};

impl Owner {
    /// Brings an answer to its question, or takes note of an event.
    pub(super) fn answer(&mut self, serial: u64, body: Body, descriptors: Vec<OwnedFd>) {
        if let Body::Exited { id, exit } = body {
            return self.ended(&id, exit);
        }
        match self.questions.remove(&serial) {
            None => tracing::warn!(serial, "the keeper answered what nobody asked"),
            Some(Question::Quiet(what)) => {
                // One that both forgot, or that ended meanwhile, is as wished.
                if let Body::Failed(failure) = body {
                    tracing::debug!(what, %failure, "the keeper did not do it");
                }
            }
            Some(Question::Plain(reply)) => {
                let answer = match body {
                    Body::Failed(failure) => Err(CallError::Failed(failure)),
                    _ => Ok(descriptors),
                };
                let _nobody_waits = reply.send(answer);
            }
            Some(Question::Launch(asked)) => self.launch_answer(serial, asked, body, descriptors),
        }
    }

    fn launch_answer(&mut self, serial: u64, mut asked: Asked, body: Body, descriptors: Vec<OwnedFd>) {
        match body {
            Body::AtGate { .. } if asked.is_unwanted() => {
                // Dropping it closes the gate; the child ends there and the keeper says so.
                self.questions.insert(serial, Question::Quiet("launch that nobody waits for"));
            }
            Body::AtGate { pid, started_at_nanoseconds } => {
                match self.hold_launched(&asked, pid, started_at_nanoseconds, descriptors) {
                    Ok(()) => asked.open_gate(),
                    Err(error) => return self.launch_failed(asked, error),
                }
                self.questions.insert(serial, Question::Launch(asked));
            }
            Body::Started { pid, started_at_nanoseconds, pty } => {
                let mut descriptors = descriptors.into_iter();
                let pidfd: Vec<OwnedFd> = descriptors.next().into_iter().collect();
                let pty = if pty { descriptors.next() } else { None };
                if self.table.get(&asked.wish.id).is_none()
                    && let Err(error) = self.hold_launched(&asked, pid, started_at_nanoseconds, pidfd)
                {
                    return self.launch_failed(asked, error);
                }
                self.started(asked, pty);
            }
            Body::Failed(failure) => self.launch_failed(asked, LaunchError::Failed(failure)),
            other => tracing::error!(?other, "the keeper answered a launch with something else"),
        }
    }

    fn hold_launched(
        &mut self,
        asked: &Asked,
        pid: i32,
        started_at_nanoseconds: u64,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let pidfd = descriptors.into_iter().next();
        let mut process = Process::new(pid, pidfd, started_at_nanoseconds, asked.wish.io.tied);
        process.held = asked.wish.io.held.clone();
        self.table.insert(asked.wish.id.clone(), process).map_err(LaunchError::Record)
    }

    fn started(&mut self, asked: Asked, pty: Option<OwnedFd>) {
        let id = asked.wish.id.clone();
        self.table.watch(&id);
        let Some(process) = self.table.get_mut(&id) else { return };
        let copy = pty.as_ref().map(OwnedFd::try_clone).transpose();
        process.pty = pty.map(Arc::new);
        let running = copy.map_err(LaunchError::Descriptor).map(|pty| Running {
            pid: process.pid,
            started_at_nanoseconds: process.started_at_nanoseconds,
            pty,
        });
        if asked.reply.send(running).is_err() && asked.wish.io.tied {
            // Whoever wanted to run it has gone away.
            self.command(super::Command::Abandon { id });
        }
    }

    fn launch_failed(&mut self, asked: Asked, error: LaunchError) {
        // Dropping `asked` closes the gate, if it is not open: the child ends there.
        if !matches!(&error, LaunchError::Failed(failure) if failure.kind == keeper_api::FailureKind::Exists)
        {
            self.table.remove(&asked.wish.id);
        }
        let _nobody_waits = asked.reply.send(Err(error));
    }

    /// The keeper died before it said that the process started.
    pub(super) fn keeper_died_launching(&mut self, asked: Asked) {
        if asked.is_open() {
            // It was let go, so the program runs, or the child fails and its end says so. A terminal
            // whose master the keeper had is gone; then the program has got a hangup.
            return self.started(asked, None);
        }
        let Asked { wish, reply, .. } = asked;
        self.table.remove(&wish.id);
        if wish.attempts >= launch::ATTEMPTS {
            let _nobody_waits = reply.send(Err(died(wish.attempts)));
        } else {
            self.again.push((wish, reply));
        }
    }
}
