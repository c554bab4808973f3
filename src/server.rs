//! `keelson server`: a whole node in two processes, and what keeps them running.
//!
//! ```text
//! server (supervisor) ─┬─ control   apiserver, scheduler, controllers   its own user
//!                      └─ node      cri, agent, proxy, dns, kubelet     root ── keeper (outlives all)
//! ```
//!
//! The parts meet over their real joints in here too: the API's port, the CRI socket, pinned maps. `keelson control`
//! and `keelson node` take the same flags; they are the server's own children and not for users.

mod children;
mod control;
mod identities;
mod layout;
mod node;
mod options;

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::parts::{self, Part};
use crate::stopping::stop_on_signals;
use children::Spec;
use layout::Layout;
use options::Options;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// How long a predecessor that is stopping may hold its folder.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(20);

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
    start(arguments, "node", |layout| process(layout, "node", node::parts))
}

fn start<F>(arguments: Vec<OsString>, name: &str, run: impl FnOnce(Layout) -> F) -> ExitCode
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
    let layout = match Layout::settle(options) {
        Ok(layout) => layout,
        Err(error) => {
            eprintln!("keelson {name}: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
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
async fn supervise(layout: Layout, arguments: Vec<OsString>) -> anyhow::Result<()> {
    anyhow::ensure!(
        rustix::process::geteuid().is_root(),
        "a node makes namespaces and cgroups: run it as root"
    );
    let _alone = alone(&layout, "server").await?;
    identities::ensure(&layout)?;
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), layout.options.supervised)?;
    tracing::info!(
        node = layout.node_name,
        address = %layout.node_ip,
        kubeconfig = %layout.options.write_kubeconfig.display(),
        "a node starts"
    );
    let ended = if layout.options.processes == 1 {
        let mut parts = control::parts(&layout);
        parts.extend(node::parts(&layout));
        parts::run(parts, stopping).await
    } else {
        children::keep(specs(&layout, &arguments), stopping).await
    };
    signals.abort();
    ended
}

fn specs(layout: &Layout, arguments: &[OsString]) -> Vec<Spec> {
    let mut arguments: Vec<OsString> = arguments.get(1..).unwrap_or_default().to_vec();
    arguments.push("--supervised".into());
    vec![
        Spec { name: "control", arguments: arguments.clone(), user: Some(layout.options.control_uid) },
        Spec { name: "node", arguments, user: None },
    ]
}

/// One of the two processes.
async fn process(layout: Layout, name: &'static str, parts: fn(&Layout) -> Vec<Part>) -> anyhow::Result<()> {
    // The control plane's store has a lock of its own.
    let _alone = if name == "node" { Some(alone(&layout, name).await?) } else { None };
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), layout.options.supervised)?;
    let ended = parts::run(parts(&layout), stopping).await;
    signals.abort();
    ended
}

/// Waits for a predecessor to go, then keeps successors waiting.
async fn alone(layout: &Layout, name: &str) -> anyhow::Result<File> {
    let state = &layout.options.state_dir;
    std::fs::create_dir_all(state).with_context(|| format!("making {}", state.display()))?;
    let path = state.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    match tokio::time::timeout(PREDECESSOR_LIMIT, waiting).await {
        Ok(locked) => locked?.with_context(|| format!("locking {}", path.display())),
        Err(_) => {
            // The thread that waits cannot be called back; it must not keep the process.
            eprintln!(
                "keelson {name}: another one holds {}: stop it, or give this one its own --state-dir and --data-dir",
                path.display()
            );
            std::process::exit(1)
        }
    }
}
