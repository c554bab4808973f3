//! A test that cannot run where it stands says so; it never passes silently.
//!
//! `KEELSON_SKIPPED` names a file that collects one line per skipped test, so that a run can show them
//! at its end.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says that `test` did not run, and why. The caller returns right after.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    // Straight to the descriptor: the test runner captures what goes through `eprint!`.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("KEELSON_SKIPPED") {
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut f| f.write_all(line.as_bytes()));
        if let Err(error) = written {
            panic!("KEELSON_SKIPPED={}: {error}", path.display());
        }
    }
}

/// True when the test may go on: it needs root for namespaces, mounts and cgroups.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}
