//! The CRI server: pods and containers for a kubelet or `crictl`, over one unix socket.
//!
//! - [`serve`]: everything; [`main`]: the command line around it.
//! - `runtime_service/`, `image_service/`: one call per file.
//! - [`sandbox`], [`container`]: plan, execute, one owner task each.
//! - [`process`], [`io`]: processes with the keeper, their streams and logs.
//! - `cni`: the pod network; `adopt`: what a restart finds.
//!
//! What is not here: how a process is made (oci), images (image), the process that outlives us (keeper).

mod adopt;
mod burst;
mod clock;
mod cni;
pub mod container;
mod deadline;
mod events;
pub mod fault;
pub mod id;
mod image_command;
mod image_service;
mod index;
pub mod io;
mod metrics;
pub mod migrations;
mod name;
pub mod node;
pub mod options;
pub mod paths;
mod pieces;
mod pod_init;
pub mod process;
mod quiet;
mod record;
mod runtime_service;
pub mod sandbox;
mod server;
mod stream_backend;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub use options::Options;
pub use server::serve;

/// Heaps of all threads together.
const HEAPS: u8 = 2;
/// Exit code of wrong usage or configuration.
const USAGE: u8 = 2;

/// `keelson cri`. `arguments[0]` is the name that usage lines show; `start` starts threads that share so many heaps.
pub fn main(arguments: Vec<OsString>, start: impl FnOnce(u8) -> std::io::Result<Runtime>) -> ExitCode {
    if arguments.get(1).is_some_and(|argument| argument == pod_init::ARGUMENT) {
        return pod_init::run();
    }
    let options = match Options::try_parse_from(arguments).map(Options::absolute) {
        Ok(Ok(options)) => options,
        Ok(Err(error)) => {
            eprintln!("keelson cri: the working directory cannot be told: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match start(HEAPS) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keelson cri: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(options, CancellationToken::new())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("keelson cri: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// What a CRI server with these options leaves on the host.
pub fn footprint(options: &Options) -> sys::footprint::Footprint {
    let paths = paths::Paths::new(options.root.clone(), options.state.clone());
    sys::footprint::Footprint {
        files: vec![paths.containers(), paths.sandboxes(), paths.pod_files(), paths.io(), paths.namespaces()],
        mounts: vec![paths.namespaces()],
        cgroups: vec![options.cgroup_root.clone()],
        sockets: vec![options.socket()],
        ..Default::default()
    }
    .and(process::footprint(&options.state))
    .and(image::footprint(&paths.images()))
}
