//! The `keelson` executable: picks the part to run and starts it; decides nothing.
//!
//! One file serves many commands. The name it is called by (`keelson-oci`, `keelson-cni`) or the first
//! argument picks the part, before any thread starts: the keeper and the OCI runtime clone processes
//! and must be single-threaded when they do.

mod agent;
mod apiserver;
mod check;
mod children;
mod closed_pipe;
mod connectivity;
mod demo;
mod flows;
mod image;
mod join_flags;
mod log;
mod net;
mod node;
mod part;
mod parts;
mod server;
mod status;
mod stopping;
mod store;
mod threads;
mod token;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use part::Part;

sys::before_main!(before_main);

/// A container is made by three short commands: their start is most of their cost.
fn before_main() -> Option<u8> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match part::pick(&arguments, std::env::var_os("CNI_COMMAND").is_some()) {
        Ok((Part::Oci, rest)) => {
            sys::early::make_safe();
            Some(oci::cli::main(rest))
        }
        _ => None,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (part, rest) = match part::pick(&arguments, std::env::var_os("CNI_COMMAND").is_some()) {
        Ok(picked) => picked,
        Err(refusal) => {
            eprintln!("{refusal}");
            return ExitCode::from(refusal.exit_code());
        }
    };
    if part.prints_and_ends() {
        closed_pipe::ends_quietly();
    }
    match part {
        Part::Help => {
            print!("{}", part::usage());
            ExitCode::SUCCESS
        }
        Part::Version => version::run(),
        Part::Oci => ExitCode::from(oci::cli::main(rest)),
        Part::Cni => cni_plugin::main(rest),
        Part::Keeper => {
            log::install();
            keeper::main(rest)
        }
        Part::Agent => {
            log::install();
            self::agent::main(rest)
        }
        Part::AgentNode => {
            log::install();
            self::agent::node_main(rest)
        }
        Part::Net => net::main(rest),
        Part::Token => token::main(rest),
        Part::Apiserver => {
            log::install();
            self::apiserver::main(rest)
        }
        Part::Server => {
            log::install();
            server::main(rest)
        }
        Part::Control => {
            log::install();
            server::control_main(rest)
        }
        Part::Node => {
            log::install();
            server::node_main(rest)
        }
        Part::Check => check::main(rest),
        Part::Status => status::main(rest),
        Part::Flows => flows::main(rest),
        Part::Connectivity => connectivity::main(rest),
        Part::Store => self::store::main(rest),
        Part::Image => self::image::main(rest),
        Part::Demo => demo::main(rest),
        Part::DemoCage => demo::cage::main(rest),
        Part::DemoInit => demo::cage::init_main(rest),
        Part::DemoWorkload => demo::workload::main(rest),
        Part::Kubelet => {
            log::install();
            kubelet::main(rest)
        }
        Part::Proxy => {
            log::install();
            proxy::main(rest)
        }
        Part::NetAgent => {
            log::install();
            ::agent::main(rest)
        }
        Part::Dns => {
            log::install();
            dns::main(rest)
        }
        Part::Controllers => {
            log::install();
            controllers::main(rest)
        }
        Part::Scheduler => {
            log::install();
            scheduler::main(rest)
        }
        Part::Cri => {
            log::install();
            cri::main(rest, threads::start)
        }
    }
}
