//! `keelson controllers`: the command line, with upstream's flag names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use client::Config;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::{ControllersOptions, run};

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;

/// Run the controllers
#[derive(Debug, Parser)]
struct Flags {
    /// kubeconfig of system:kube-controller-manager.
    #[arg(long, env = "KEELSON_KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Authorities published to pods in the ConfigMap kube-root-ca.crt; those of the kubeconfig unless given.
    #[arg(long)]
    root_ca_file: Option<PathBuf>,
    /// Give every controller its own ServiceAccount's rights.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    use_service_account_credentials: bool,
}

/// Runs until SIGTERM or SIGINT.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let options = match options(flags) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("keelson controllers: {error:#}");
            return ExitCode::from(USAGE);
        }
    };
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting threads")
        .and_then(|runtime| runtime.block_on(until_stopped(options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson controllers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(flags: Flags) -> anyhow::Result<ControllersOptions> {
    let config = Config::read(&flags.kubeconfig)?;
    let root_ca = match &flags.root_ca_file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("--root-ca-file {}", file.display()))?
        }
        None => config.authorities_pem(),
    };
    Ok(ControllersOptions { config, root_ca, own_accounts: flags.use_service_account_credentials })
}

async fn until_stopped(options: ControllersOptions) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = run(options) => Ok(ended?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
