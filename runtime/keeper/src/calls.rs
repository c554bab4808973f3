//! Calls: one file each, and the door that leads to them.

mod adopt;
mod forget;
pub mod launch;
mod list;
mod release;

use std::os::fd::OwnedFd;

use keeper_api::{Body, Call, Failure, FailureKind};

use crate::clients::ClientNumber;
use crate::server::Keeper;

/// Answers a call, now or later.
pub fn answer(keeper: &mut Keeper, client: ClientNumber, serial: u64, call: Call, descriptors: Vec<OwnedFd>) {
    if !keeper.clients.known(client, matches!(call, Call::Hello)) {
        let failure = Failure { kind: FailureKind::Request, message: "say hello first".into() };
        return keeper.send(client, serial, Body::Failed(failure), &[]);
    }
    let done = match call {
        Call::Hello => {
            let welcome = Body::Welcome {
                pid: std::process::id() as i32,
                instance: keeper.instance,
                build: oci::plan::build(),
            };
            return keeper.send(client, serial, welcome, &[]);
        }
        Call::Launch(launch) => match launch::begin(keeper, client, serial, launch, descriptors) {
            Ok(()) => return,
            Err(failure) => Err(failure),
        },
        Call::List { after } => return list::answer(keeper, client, serial, after),
        Call::Forget { id } => forget::forget(keeper, &id),
        Call::Adopt(adopt) => adopt::adopt(keeper, client, adopt, descriptors),
        Call::Release { id, stream } => release::release(keeper, &id, stream),
        Call::StoreFd { name } => keeper.stored.put(name, descriptors),
        Call::TakeFds { name } => {
            let Keeper { stored, clients, poll, .. } = keeper;
            if clients.send(client, serial, Body::Fds, &stored.get(&name), poll).is_err() {
                keeper.cut_off(client);
            }
            return;
        }
        Call::DropFds { name } => {
            keeper.stored.remove(&name);
            Ok(())
        }
        Call::Upgrade => match descriptors.into_iter().next() {
            Some(executable) => {
                keeper.upgrade = Some((executable, client, serial));
                return;
            }
            None => Err(Failure { kind: FailureKind::Request, message: "no executable came along".into() }),
        },
    };
    let body = done.map_or_else(Body::Failed, |()| Body::Done);
    keeper.send(client, serial, body, &[]);
}

/// The failure of a name that means nothing.
fn unknown(id: &keeper_api::ProcessId) -> Failure {
    Failure { kind: FailureKind::UnknownId, message: format!("no process {id}") }
}

/// The failure of a message without the descriptors it needs.
fn too_few_descriptors() -> Failure {
    Failure { kind: FailureKind::Request, message: "descriptors are missing, or too many came".into() }
}

/// The failure of a system call of the keeper's own.
fn system(what: &str, error: &std::io::Error) -> Failure {
    Failure {
        kind: FailureKind::System { errno: error.raw_os_error().unwrap_or(0) },
        message: format!("{what}: {error}"),
    }
}
