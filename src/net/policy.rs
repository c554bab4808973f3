//! `keelson net policy explain POD PEER PORT`: which policies select the two, and which rule allows it or that none does.
//!
//! From the objects of the API alone: what the data path should do. `keelson flows` shows what it does.
//! Exit codes: 0 allowed, 1 denied or not known.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use client::{Client, Config, Surroundings};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether a pod may talk to somebody, and which policy says so
    Explain(Explain),
}

#[derive(Debug, Args)]
pub struct Explain {
    /// Who begins: [NAMESPACE/]NAME.
    pod: String,
    /// Who is asked: [NAMESPACE/]NAME of a pod, or an address.
    peer: String,
    /// The peer's port: 80, 53/UDP, or the name that the peer gives it.
    port: String,
    /// File that says where the API is and who we are.
    #[arg(long, default_value = "/etc/keelson/admin.conf", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// How to print it.
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs to its end.
pub fn main(command: &Command) -> ExitCode {
    let Command::Explain(asked) = command;
    match explain(asked) {
        Ok(explanation) => {
            match asked.output {
                Output::Text => print!("{}", explanation.text()),
                Output::Json => println!("{}", explanation.document()),
            }
            if explanation.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("keelson net policy explain: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn explain(asked: &Explain) -> anyhow::Result<::agent::Explanation> {
    let config = Config::read(&asked.kubeconfig).context("--kubeconfig")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(config, "keelson-net-policy", Surroundings::system())?;
        ::agent::explain(&client, &asked.pod, &asked.peer, &asked.port).await
    })
}
