//! `keelson scheduler`: the scheduler alone, under upstream's flag names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use client::{Caches, Client, Config, Election, Surroundings};
use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::scheduler::Scheduler;

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// Deciding is one task; the rest waits for the network.
const THREADS: usize = 2;

/// Give every pending pod a node
#[derive(Debug, Parser)]
pub struct Options {
    /// File that says where the API is and who we are.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Work only while no other scheduler of the cluster does.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_elect: bool,
    /// Who this one is among them.
    #[arg(long, required_if_eq("leader_elect", "true"), value_name = "NAME")]
    leader_elect_identity: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = Config::read(&options.kubeconfig) {
        eprintln!("keelson scheduler: --kubeconfig: {error}");
        return ExitCode::from(USAGE);
    }
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("keelson scheduler: starting threads: {error}");
                return ExitCode::FAILURE;
            }
        };
    match runtime.block_on(until_stopped(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson scheduler: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Schedules until `stopping`.
pub fn run(options: Options, stopping: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed here: an `async fn` is compiled again by each crate that awaits it, with all that it awaits.
    Box::pin(run_until(options, stopping))
}

async fn run_until(options: Options, stopping: CancellationToken) -> anyhow::Result<()> {
    let config = Config::read(&options.kubeconfig)?;
    let client = Client::new(config, "keelson-scheduler", Surroundings::system())?;
    let work = async || {
        Scheduler::new(client.clone(), &Caches::new(client.clone())).run(stopping.clone()).await;
    };
    if !options.leader_elect {
        work().await;
        return Ok(());
    }
    let identity = options.leader_elect_identity.unwrap_or_default();
    let election = Election::new(client.clone(), "kube-scheduler", identity);
    let ended = stopping.run_until_cancelled(election.lead(work())).await;
    election.release().await;
    Ok(ended.unwrap_or(Ok(()))?)
}

async fn until_stopped(options: Options) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = CancellationToken::new();
    let running = run(options, stopping.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stopping.cancel();
    running.await
}
