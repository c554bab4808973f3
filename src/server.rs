//! `keelson server`: a whole node in two processes, and what keeps them running.
//!
//! ```text
//! server (supervisor) ─┬─ control   apiserver, scheduler, controllers   its own user
//!                      └─ node      cri, agent, proxy, dns, kubelet     root ── keeper (outlives all)
//! ```
//!
//! The parts meet over their real joints in here too: the API's port, the CRI socket, pinned maps. `keelson control`
//! and `keelson node` take the same flags; they are the server's own children and not for users.

mod control;
mod identities;
mod joining;
mod layout;
mod options;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::check;
use crate::children::{self, Spec, alone};
use crate::join_flags::without_token;
use crate::node;
use crate::parts::{self, Part};
use crate::stopping::stop_on_signals;
use layout::ServerLayout;
use options::Options;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;

/// `keelson server`.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let own = arguments.clone();
    start(arguments, "server", move |layout| supervise(layout, own))
}

/// `keelson control`.
pub fn control_main(arguments: Vec<OsString>) -> ExitCode {
    start(arguments, "control", |layout| process(layout, "control", control::parts))
}

/// `keelson node`.
pub fn node_main(arguments: Vec<OsString>) -> ExitCode {
    start(arguments, "node", |layout| process(layout, "node", |layout| node::parts(&layout.node)))
}

fn start<F>(arguments: Vec<OsString>, name: &str, run: impl FnOnce(ServerLayout) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // Its children start where it has started.
    if name == "server"
        && let Some(refused) = check::refuse(name)
    {
        return refused;
    }
    let layout = match ServerLayout::settle(options) {
        Ok(layout) => layout,
        Err(error) => {
            eprintln!("keelson {name}: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match crate::threads::start(crate::threads::HEAPS) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keelson {name}: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(layout)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes keys and identities, then keeps both processes running.
async fn supervise(layout: ServerLayout, arguments: Vec<OsString>) -> anyhow::Result<()> {
    let _alone = alone(&layout.node.options.state_dir, "server").await?;
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), layout.node.options.supervised)?;
    let Some(joined) = stopping.run_until_cancelled(joining::ensure_joined(&layout)).await else {
        return Ok(());
    };
    joined?;
    identities::ensure(&layout)?;
    tracing::info!(
        node = layout.node.node_name,
        addresses = ?layout.node.node_ips,
        kubeconfig = %layout.control.write_kubeconfig.display(),
        "a node starts"
    );
    let ended = if layout.control.processes == 1 {
        let mut parts = control::parts(&layout);
        parts.extend(node::parts(&layout.node));
        parts::run(parts, stopping).await
    } else {
        children::keep(specs(&layout, &arguments), stopping).await
    };
    signals.abort();
    ended
}

fn specs(layout: &ServerLayout, arguments: &[OsString]) -> Vec<Spec> {
    let mut arguments = without_token(arguments.get(1..).unwrap_or_default());
    arguments.push("--supervised".into());
    vec![
        Spec { name: "control", arguments: arguments.clone(), user: Some(layout.control.control_uid) },
        Spec { name: "node", arguments, user: None },
    ]
}

/// One of the two processes.
async fn process(
    layout: ServerLayout,
    name: &'static str,
    parts: fn(&ServerLayout) -> Vec<Part>,
) -> anyhow::Result<()> {
    // The control plane's store has a lock of its own.
    let _alone = if name == "node" { Some(alone(&layout.node.options.state_dir, name).await?) } else { None };
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), layout.node.options.supervised)?;
    let ended = parts::run(parts(&layout), stopping).await;
    signals.abort();
    ended
}
