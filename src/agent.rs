//! `keelson agent`: a node of a cluster that runs elsewhere.
//!
//! ```text
//! agent (supervisor: joins) ── agent-node   cri, agent, proxy, dns, kubelet, certificates   root ── keeper (outlives all)
//! ```
//!
//! The first start needs a token; later ones have their certificates, which are renewed in time. A node whose server does
//! not answer runs on with what it knows.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use client::Surroundings;
use join::Paths;
use tokio_util::sync::CancellationToken;

use crate::check;
use crate::children::{self, Spec, alone};
use crate::join_flags::{JoinFlags, without_token};
use crate::node::{self, Layout, Machine, NodeOptions};
use crate::parts::{self, Part};
use crate::stopping::stop_on_signals;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;

/// Join this machine to a cluster, and run its pods
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Where the API is: https://HOST:PORT, a name or an address that the server's certificate is for
    #[arg(long, env = "KEELSON_SERVER", value_name = "URL")]
    server: String,
    #[command(flatten)]
    join: JoinFlags,
    /// Life of this node's certificates; the cluster's own choice unless given.
    #[arg(long, hide = true, value_name = "SECONDS")]
    certificate_seconds: Option<i64>,
    #[command(flatten)]
    node: NodeOptions,
}

/// `keelson agent`.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let own = arguments.clone();
    start(arguments, "agent", move |options, machine| supervise(options, machine, own))
}

/// `keelson agent-node`.
pub fn node_main(arguments: Vec<OsString>) -> ExitCode {
    start(arguments, "agent-node", process)
}

fn start<F>(arguments: Vec<OsString>, name: &str, run: impl FnOnce(Options, Machine) -> F) -> ExitCode
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
    let settled = options.join.read().and_then(|_| Machine::settle(options.node.clone()));
    let machine = match settled {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("keelson {name}: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    if let Some(refused) = check::refuse(name) {
        return refused;
    }
    let done = crate::threads::start(crate::threads::HEAPS)
        .context("starting threads")
        .and_then(|runtime| runtime.block_on(run(options, machine)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn identity(&self, machine: &Machine) -> join::Machine {
        join::Machine {
            folder: machine.node_folder(),
            server: self.server.trim_end_matches('/').to_owned(),
            name: machine.node_name.clone(),
            addresses: machine.node_ips.clone(),
            certificate_seconds: self.certificate_seconds,
        }
    }
}

/// Makes this machine a node, then keeps its process running.
async fn supervise(options: Options, machine: Machine, arguments: Vec<OsString>) -> anyhow::Result<()> {
    let _alone = alone(&machine.options.state_dir, "agent").await?;
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), machine.options.supervised)?;
    let limit = Duration::from_secs(options.join.join_seconds);
    let (token, identity) = (options.join.read()?, options.identity(&machine));
    let joining = identity.ensure(token.as_ref(), Surroundings::system(), limit);
    let Some(joined) = stopping.run_until_cancelled(joining).await else { return Ok(()) };
    joined?;
    tracing::info!(node = machine.node_name, addresses = ?machine.node_ips, server = options.server, "a node starts");
    let mut arguments: Vec<OsString> = without_token(arguments.get(1..).unwrap_or_default());
    arguments.push("--supervised".into());
    let spec = Spec { name: "agent-node", arguments, user: None };
    let ended = children::keep(vec![spec], stopping).await;
    signals.abort();
    ended
}

/// The node's process.
async fn process(options: Options, machine: Machine) -> anyhow::Result<()> {
    let _alone = alone(&machine.options.state_dir, "node").await?;
    let stopping = CancellationToken::new();
    let signals = stop_on_signals(stopping.clone(), machine.options.supervised)?;
    let identity = options.identity(&machine);
    let folder = machine.node_folder();
    let paths = Paths(&folder);
    let cluster = paths.read_cluster()?;
    let serving = (paths.serving(), paths.serving());
    let Machine { options, node_name, node_ips } = machine;
    let layout = Layout { options, node_name, node_ips, cluster, serving, taints: Vec::new() };
    let mut parts = node::parts(&layout);
    parts.push(Part::new("certificates", move |stopping| {
        let identity = identity.clone();
        async move {
            join::keep(identity, Surroundings::system(), stopping).await;
            Ok(())
        }
    }));
    let ended = parts::run(parts, stopping).await;
    signals.abort();
    ended
}
