//! A launch under way, from the wish to the program, over a keeper's death if need be.
//!
//! ```text
//! Wish ──call──▶ asked ──AtGate──▶ held: pidfd in the table, record on disk, gate opened ──Started──▶ told
//!   ▲              │                 │
//!   └──────────────┴ keeper died ────┴──▶ the gate was open: the program runs, it is adopted
//! ```

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use keeper_api::{Call, Launch, ProcessId};
use oci::{Plan, Step};
use tokio::sync::oneshot;

use super::{Io, LaunchError, Running};

/// Attempts before a launch that kills keepers is given up.
pub const ATTEMPTS: u32 = 5;

/// A plan as bytes, with a gate before its program if it has none: nothing runs that nobody holds.
pub fn encode_gated(plan: &Plan) -> Result<Vec<u8>, LaunchError> {
    let failed = |error: oci::PlanError| LaunchError::Plan(Box::new(error));
    if plan.steps.iter().any(|step| matches!(step, Step::Gate)) {
        return plan.encode().map_err(failed);
    }
    let mut gated = plan.clone();
    // After the program was found, so that a missing one is told first; before what cannot be taken back.
    let found = gated.steps.iter().position(|step| matches!(step, Step::FindProgram { .. }));
    gated.steps.insert(found.map_or(0, |at| at + 1), Step::Gate);
    gated.encode().map_err(failed)
}

/// A call and the descriptors that travel with it.
pub type Parcel = (Call, Vec<Arc<OwnedFd>>);

/// Who waits for a launch.
pub type Reply = oneshot::Sender<Result<Running, LaunchError>>;

/// A process that is wanted, with everything needed to ask for it again.
#[derive(Debug)]
pub struct Wish {
    pub id: ProcessId,
    pub io: WishIo,
    plan: Arc<OwnedFd>,
    cgroup: Option<Arc<OwnedFd>>,
    /// How often it was asked for.
    pub attempts: u32,
}

/// [`Io`] with its descriptors shared, for a second attempt.
#[derive(Debug)]
pub struct WishIo {
    stdio: [Arc<OwnedFd>; 3],
    pub held: Vec<(keeper_api::Stream, Arc<OwnedFd>)>,
    tty: bool,
    pub tied: bool,
}

/// A launch that was asked for.
#[derive(Debug)]
pub struct Asked {
    pub wish: Wish,
    pub reply: Reply,
    /// `None` once it was opened.
    gate: Option<io::PipeWriter>,
}

impl Wish {
    /// A wish that was not asked for yet.
    pub fn new(id: ProcessId, plan: OwnedFd, io: Io, cgroup: Option<OwnedFd>) -> Wish {
        let Io { stdio, held, tty, tied } = io;
        let io = WishIo { stdio: stdio.map(Arc::new), held, tty, tied };
        Wish { id, io, plan: Arc::new(plan), cgroup: cgroup.map(Arc::new), attempts: 0 }
    }

    /// Makes a gate and the call with its descriptors.
    pub fn ask(mut self, reply: Reply) -> Result<(Asked, Parcel), (Reply, LaunchError)> {
        let (waits, gate) = match io::pipe() {
            Ok(pipe) => pipe,
            Err(error) => return Err((reply, LaunchError::Descriptor(error))),
        };
        self.attempts += 1;
        let call = Call::Launch(Launch {
            id: self.id.clone(),
            tty: self.io.tty,
            cgroup: self.cgroup.is_some(),
            held: self.io.held.iter().map(|(stream, _)| *stream).collect(),
            preserve: 0,
            tied: self.io.tied,
        });
        let mut descriptors = vec![Arc::clone(&self.plan)];
        descriptors.extend(self.io.stdio.iter().cloned());
        descriptors.push(Arc::new(OwnedFd::from(waits)));
        descriptors.extend(self.cgroup.clone());
        descriptors.extend(self.io.held.iter().map(|(_, held)| Arc::clone(held)));
        Ok((Asked { wish: self, reply, gate: Some(gate) }, (call, descriptors)))
    }
}

impl Asked {
    /// Lets the child become the program.
    pub fn open_gate(&mut self) {
        if let Some(mut gate) = self.gate.take()
            && let Err(error) = gate.write_all(b"!")
        {
            // A child that died at its gate; the keeper tells why.
            tracing::debug!(id = %self.wish.id, %error, "nobody is at the gate");
        }
    }

    /// Whether nobody waits for the process any more.
    pub fn is_unwanted(&self) -> bool {
        self.reply.is_closed()
    }

    /// Whether the child was let go.
    pub fn is_open(&self) -> bool {
        self.gate.is_none()
    }
}
