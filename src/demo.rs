//! `keelson demo`: a whole node in namespaces of its own, a workload on it, and nothing left afterwards.
//!
//! ```text
//! image of this executable ─► cage with a node ─► deployment and Service ─► calls by name, ClusterIP, NodePort
//! ```
//!
//! Nothing is simulated and no network is touched: the node is `keelson server` as a user runs it, in network, mount
//! and process namespaces that end with this command, however it ends. What a kill leaves (a folder, empty
//! cgroups) is removed by the next start.

pub mod cage;
pub mod image;
mod leftovers;
mod objects;
mod story;
pub mod workload;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::check;
use cage::Cage;
use leftovers::Folder;
use story::{Stages, Story};

const USAGE: u8 = 2;
/// As a shell says it of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
const NODE_NAME: &str = "demo";
const DOMAIN: &str = "cluster.local";

/// Run a whole node with a workload in namespaces of its own, call it, and leave nothing
#[derive(Debug, Parser)]
struct Options {
    /// Web servers to run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: u32,
    /// Keep the node until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Runs the demonstration.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(refused) = check::refuse("demo") {
        return refused;
    }
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keelson demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let swept = leftovers::sweep().context("removing what an earlier demonstration left")?;
    if swept > 0 {
        println!("removed what {swept} killed demonstration(s) had left");
    }
    let mut stages = Stages::begin();
    let folder = Folder::create()?;
    let told = in_folder(options, &folder, &mut stages);
    let path = folder.path.clone();
    folder.remove().with_context(|| format!("cleaning {}", path.display()))?;
    stages.done("all of it is gone");
    told
}

fn in_folder(options: &Options, folder: &Folder, stages: &mut Stages) -> anyhow::Result<ExitCode> {
    let path = folder.path.as_path();
    prepare(path).context("preparing the node's files")?;
    stages.done("an image made of this executable is imported");
    let cage = Cage::build(path, &server_flags(folder))?;
    stages.done(&format!(
        "a node {} starts in namespaces of its own; {} is a host outside",
        cage::NODE,
        cage::OUTSIDE
    ));
    // Before any thread starts: all of them live in the node's network.
    let told = cage.enter_network().and_then(|()| tell(options, path, &cage, stages));
    cage.tear_down();
    told
}

fn tell(options: &Options, folder: &Path, cage: &Cage, stages: &mut Stages) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let interrupted = async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        };
        let story = Story { folder, cage, replicas: options.replicas, domain: DOMAIN };
        let telling = async {
            story.tell(stages).await?;
            if options.keep {
                println!(
                    "\nThe node runs until Ctrl-C. Look around with:\n  nsenter --net={} kubectl --kubeconfig {} get pods -A -o wide\n",
                    cage.network_path(),
                    folder.join("admin.conf").display()
                );
                std::future::pending::<()>().await;
            }
            anyhow::Ok(ExitCode::SUCCESS)
        };
        tokio::select! {
            told = telling => told,
            () = interrupted => Ok(ExitCode::from(if options.keep { 0 } else { INTERRUPTED })),
        }
    })
}

/// What a node finds on its disk: the image, and the CNI plugin.
fn prepare(folder: &Path) -> anyhow::Result<()> {
    let layout = folder.join("image");
    image::write(&layout)?;
    let plugins = folder.join("bin");
    std::fs::create_dir_all(&plugins)?;
    let executable = std::fs::read_link("/proc/self/exe")?;
    std::os::unix::fs::symlink(executable, plugins.join("keelson-cni"))?;
    let store = images(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(store.import(&layout))?;
    std::fs::remove_dir_all(&layout)?;
    Ok(())
}

/// The node's own store, before the node has it.
fn images(folder: &Path) -> anyhow::Result<::image::Store> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data)?;
    Ok(::image::Store::open(::image::ImageOptions::new(data.join("images"), folder.join("registries")))?)
}

fn server_flags(folder: &Folder) -> Vec<String> {
    let at = |name: &str| folder.path.join(name).display().to_string();
    [
        ("data-dir", at("data")),
        ("state-dir", at("run")),
        ("node-name", NODE_NAME.to_owned()),
        ("node-ip", cage::NODE.to_string()),
        ("cluster-domain", DOMAIN.to_owned()),
        ("write-kubeconfig", at("admin.conf")),
        ("root-dir", at("kubelet")),
        ("pod-logs-dir", at("logs")),
        ("cni-conf-dir", at("net.d")),
        ("cni-bin-dir", at("bin")),
        ("registries", at("registries")),
        ("cgroup-root", folder.cgroup()),
        ("keeper-cgroup", "none".to_owned()),
        // A minute on a disk that is nearly full harms nobody.
        ("eviction-hard", "memory.available<10Mi".to_owned()),
        ("bpffs", at("bpf")),
        ("instance", folder.tag.clone()),
    ]
    .map(|(name, value)| format!("--{name}={value}"))
    .into()
}
