//! `keelson version`: what this file is and which protocols it speaks.

use std::process::ExitCode;

/// Prints the version to stdout.
pub fn run() -> ExitCode {
    println!("keelson {}", env!("CARGO_PKG_VERSION"));
    println!("CRI v1, OCI runtime 1.2, CNI 1.1");
    ExitCode::SUCCESS
}
