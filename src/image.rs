//! `keelson image`: the images of this node, by hand.
//!
//! The store belongs to the CRI server, which is asked over its socket: what CRI has a call for by CRI, transfers
//! with their progress and pruning by `keelson.images.v1` beside it. Data goes to stdout, progress to stderr and
//! only where that is a terminal.
//!
//! Exit codes: 0 done, 1 failed, 2 usage.

mod progress;
mod table;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use cri_api::images_v1 as api;
use cri_api::images_v1::images_client::ImagesClient;
use cri_api::v1;
use cri_api::v1::image_service_client::ImageServiceClient;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

const USAGE: u8 = 2;
/// As large as the server's answers may be.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The longest password that is read.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// See and move the images of this node
#[derive(Debug, Parser)]
struct Options {
    /// The CRI server's socket.
    #[arg(long, default_value = "unix:///run/keelson/cri.sock", env = "KEELSON_CRI_ADDRESS", global = true)]
    address: String,
    /// How to print it.
    #[arg(short, long, default_value = "text", global = true)]
    output: Output,
    /// No progress, also on a terminal.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List images, or the one that NAME finds
    Ls { name: Option<String> },
    /// Fetch an image from its registry
    Pull {
        name: String,
        #[command(flatten)]
        login: Login,
    },
    /// Send an image to a registry, under its own name or another
    Push {
        name: String,
        /// What it is called there
        target: Option<String>,
        #[command(flatten)]
        login: Login,
    },
    /// Take the images of an archive (OCI layout or docker save), or of an OCI layout folder
    Import { path: PathBuf },
    /// Write an image to a new file: a tar archive of an OCI layout
    Export { name: String, path: PathBuf },
    /// Remove images without a name that no container uses
    Prune {
        /// Those with names too
        #[arg(long, short)]
        all: bool,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Show an image with its configuration
    Inspect { name: String },
    /// Remove images
    Rm {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Who asks the registry.
#[derive(Debug, Args)]
struct Login {
    /// Name at the registry; its password is in KEELSON_REGISTRY_PASSWORD, or on stdin
    #[arg(long, short)]
    username: Option<String>,
    /// Read the password from stdin
    #[arg(long, requires = "username")]
    password_stdin: bool,
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
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(run(options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Both services of one node, and how to print.
struct Session {
    images: ImageServiceClient<Channel>,
    commands: ImagesClient<Channel>,
    output: Output,
    shows_progress: bool,
}

async fn run(options: Options) -> anyhow::Result<()> {
    let channel = connect(&options.address).await.with_context(|| {
        format!(
            "no CRI server at {}; start keelson server or keelson cri, or give --address",
            options.address
        )
    })?;
    let mut session = Session {
        images: ImageServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
        commands: ImagesClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        output: options.output,
        shows_progress: !options.quiet && std::io::stderr().is_terminal(),
    };
    session.execute(options.command).await
}

/// By a connector of our own: the library's would bring the resolver of the C library along.
async fn connect(address: &str) -> anyhow::Result<Channel> {
    let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Ok(Endpoint::from_static("http://localhost").connect_with_connector(connector).await?)
}

// === impl Session ===

impl Session {
    async fn execute(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Ls { name } => self.list(name).await,
            Command::Pull { name, login } => {
                let request = api::PullRequest { image: name, credentials: login.credentials()? };
                let stream = self.commands.pull(request).await.map_err(said)?.into_inner();
                self.follow(stream).await
            }
            Command::Push { name, target, login } => {
                let target = target.unwrap_or_else(|| name.clone());
                let request = api::PushRequest { image: name, target, credentials: login.credentials()? };
                let stream = self.commands.push(request).await.map_err(said)?.into_inner();
                self.follow(stream).await
            }
            Command::Import { path } => {
                let request = api::ImportRequest { path: absolute(&path)? };
                let stream = self.commands.import(request).await.map_err(said)?.into_inner();
                self.follow(stream).await
            }
            Command::Export { name, path } => {
                let request = api::ExportRequest { image: name, path: absolute(&path)? };
                let stream = self.commands.export(request).await.map_err(said)?.into_inner();
                self.follow(stream).await
            }
            Command::Prune { all, dry_run } => self.prune(all, dry_run).await,
            Command::Inspect { name } => self.inspect(name).await,
            Command::Rm { names } => self.remove(names).await,
        }
    }

    async fn list(&mut self, name: Option<String>) -> anyhow::Result<()> {
        let filter = name.map(|image| v1::ImageFilter { image: Some(named(image)) });
        let answer =
            self.images.list_images(v1::ListImagesRequest { filter }).await.map_err(said)?.into_inner();
        match self.output {
            Output::Json => println!("{}", Value::from_iter(answer.images.iter().map(described))),
            Output::Text => print!("{}", table::images(&answer.images)),
        }
        Ok(())
    }

    async fn inspect(&mut self, name: String) -> anyhow::Result<()> {
        let request = v1::ImageStatusRequest { image: Some(named(name.clone())), verbose: true };
        let answer = self.images.image_status(request).await.map_err(said)?.into_inner();
        let Some(image) = answer.image else { bail!("image {name} is not here: pull it first") };
        let mut shown = described(&image);
        let info = answer.info.get("info").map_or("{}", String::as_str);
        shown["info"] = serde_json::from_str(info).context("what the server says about the image")?;
        // A document in both forms: for people it has lines.
        match self.output {
            Output::Json => println!("{shown}"),
            Output::Text => println!("{shown:#}"),
        }
        Ok(())
    }

    async fn remove(&mut self, names: Vec<String>) -> anyhow::Result<()> {
        for name in names {
            let request = v1::ImageStatusRequest { image: Some(named(name.clone())), verbose: false };
            if self.images.image_status(request).await.map_err(said)?.into_inner().image.is_none() {
                bail!("image {name} is not here");
            }
            let request = v1::RemoveImageRequest { image: Some(named(name.clone())) };
            self.images.remove_image(request).await.map_err(said)?;
            self.told(&[name]);
        }
        Ok(())
    }

    async fn prune(&mut self, all: bool, dry_run: bool) -> anyhow::Result<()> {
        let answer =
            self.commands.prune(api::PruneRequest { all, dry_run }).await.map_err(said)?.into_inner();
        match self.output {
            Output::Json => {
                let one =
                    |image: &api::Removed| json!({"id": image.id, "names": image.names, "size": image.size});
                println!("{}", Value::from_iter(answer.removed.iter().map(one)));
            }
            Output::Text => {
                for image in &answer.removed {
                    println!("{}", image.names.first().unwrap_or(&image.id));
                }
                let freed: u64 = answer.removed.iter().map(|image| image.size).sum();
                let word = if dry_run { "would be" } else { "were" };
                eprintln!("{} images, {}, {word} removed", answer.removed.len(), table::bytes(freed));
            }
        }
        Ok(())
    }

    /// Shows a transfer to its end and prints what came of it.
    async fn follow(&self, mut stream: tonic::Streaming<api::Progress>) -> anyhow::Result<()> {
        let mut bars = self.shows_progress.then(progress::Bars::default);
        let mut results = Vec::new();
        while let Some(message) = stream.message().await.map_err(said)? {
            if let Some(bars) = &mut bars {
                bars.draw(&message.layers);
            }
            results.extend(message.results);
        }
        if results.is_empty() {
            bail!("the server ended before the transfer did");
        }
        self.told(&results);
        Ok(())
    }

    fn told(&self, results: &[String]) {
        match self.output {
            Output::Json => println!("{}", json!(results)),
            Output::Text => results.iter().for_each(|result| println!("{result}")),
        }
    }
}

// === impl Login ===

impl Login {
    fn credentials(&self) -> anyhow::Result<Option<api::Credentials>> {
        let Some(username) = self.username.clone() else { return Ok(None) };
        let password = if self.password_stdin {
            let mut text = String::new();
            std::io::stdin()
                .take(PASSWORD_BYTES_MAX)
                .read_to_string(&mut text)
                .context("reading the password")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        } else {
            std::env::var("KEELSON_REGISTRY_PASSWORD")
                .context("--username needs KEELSON_REGISTRY_PASSWORD or --password-stdin")?
        };
        Ok(Some(api::Credentials { username, password }))
    }
}

fn named(image: String) -> v1::ImageSpec {
    v1::ImageSpec { image, ..Default::default() }
}

fn described(image: &v1::Image) -> Value {
    json!({
        "id": image.id, "tags": image.repo_tags, "digests": image.repo_digests,
        "size": image.size, "pinned": image.pinned,
    })
}

/// The server's sentence alone: what surrounds it is for programs.
fn said(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

fn absolute(path: &std::path::Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{} is not UTF-8", path.display()))
}
