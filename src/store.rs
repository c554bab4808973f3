//! `keelson store`: the store's members, snapshots, and what to do when most of it is lost.
//!
//! A running member is asked over the members' own wire, with the peer certificate in the keys' folder; a stopped one's
//! folder is opened.

mod members;
mod offline;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use store::raft::{Client, PeerTls};

/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;
/// Exit code of a store that is degraded.
const DEGRADED: u8 = 3;

/// Look at the store and its members, save and restore it
#[derive(Debug, Parser)]
struct Options {
    /// Folder of the store and the keys.
    #[arg(
        long,
        global = true,
        default_value = "/var/lib/keelson",
        env = "KEELSON_DATA_DIR",
        value_name = "DIR"
    )]
    data_dir: PathBuf,
    /// Address and port of the member to ask; this server's own by default.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    peer: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell how each member does; exit code 3 where one of them does not
    Status {
        /// How to print it.
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// List the members and change who they are
    Members {
        #[command(subcommand)]
        change: Option<members::MemberCommand>,
    },
    /// Write all that the store holds to a new file
    Snapshot {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Make a store from a snapshot; --data-dir must hold none
    Restore {
        /// The file.
        file: PathBuf,
    },
    /// Go on alone with what this stopped member has, when most members are lost for good
    Recover {
        /// Address and port by which members reach this one from now on.
        #[arg(long, value_name = "ADDRESS:PORT")]
        peer_address: Option<String>,
        /// Do it; without it only what would be lost is told.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs to its end.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keelson store: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keelson store: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let place = Place { data_dir: options.data_dir, peer: options.peer };
    match options.command {
        Command::Status { output } => members::status(&place.client()?, output == Output::Json).await,
        Command::Members { change } => members::run(&place.client()?, change).await,
        Command::Snapshot { file } => offline::snapshot(&place, &file).await,
        Command::Restore { file } => offline::restore(&place, &file),
        Command::Recover { peer_address, yes } => offline::recover(&place, peer_address, yes),
    }
}

/// Which store is meant.
struct Place {
    data_dir: PathBuf,
    peer: Option<String>,
}

impl Place {
    fn store(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// Why nobody can be asked.
    fn no_member(&self) -> String {
        let folder = self.store();
        if folder.join("log").exists() {
            return format!(
                "{} is a store without members: its server has no --peer-address, and only `snapshot` works, while it is stopped",
                folder.display()
            );
        }
        format!(
            "{} is not a member's folder: give --data-dir, or --peer for another server's",
            folder.display()
        )
    }

    /// A running member.
    fn client(&self) -> anyhow::Result<Client> {
        let address = match &self.peer {
            Some(address) => address.clone(),
            None => store::raft::address(&self.store()).with_context(|| self.no_member())?,
        };
        Ok(Client::new(&address, peer_tls(&self.data_dir.join("pki"))?))
    }
}

/// The keys of the members' wire.
pub fn peer_tls(keys: &Path) -> anyhow::Result<PeerTls> {
    let read = |name: &str| {
        let path = keys.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let certificate = pki::Certificate::from_pem("peer.crt", read("peer.crt")?, read("peer.key")?)?;
    PeerTls::new(&certificate, &read("peer-ca.crt")?).map_err(anyhow::Error::msg)
}
