//! `keelson check`: whether this host can run Keelson, and what to do where it cannot.
//!
//! Changes nothing: what is tried is tried in namespaces and files that end with the try.
//! Exit codes: 0 nothing fails, 2 usage, 4 something does.

mod facts;
mod judge;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use judge::{Finding, Verdict};

const USAGE: u8 = 2;
/// Exit code of a host that cannot run a node.
const PREFLIGHT: u8 = 4;

/// Tell whether this host can run Keelson
#[derive(Debug, Parser)]
struct Options {
    /// Where a server would keep its store.
    #[arg(long, default_value = "/var/lib/keelson")]
    data_dir: PathBuf,
    /// Where pod networks are configured.
    #[arg(long, default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// How to print it.
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Says why the command cannot run a node here at all, before anything is changed; then it ends with this.
pub fn refuse(command: &str) -> Option<ExitCode> {
    let why = refusal()?;
    eprintln!("keelson {command}: {why}");
    Some(ExitCode::from(PREFLIGHT))
}

fn refusal() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a node makes namespaces and cgroups: run it as root".to_owned());
    }
    let found = judge::kernel(&rustix::system::uname().release().to_string_lossy());
    (found.verdict == Verdict::Fail)
        .then(|| format!("this kernel is {}, which is too old: {}", found.seen, found.mending))
}

/// Looks and tells.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let findings = judge::judge(&facts::gather(&options.data_dir, &options.cni_conf_dir));
    match options.output {
        Output::Text => print!("{}", text(&findings)),
        Output::Json => println!("{}", document(&findings)),
    }
    if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        ExitCode::from(PREFLIGHT)
    } else {
        ExitCode::SUCCESS
    }
}

fn text(findings: &[Finding]) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for finding in findings {
        if !groups.contains(&finding.group) {
            groups.push(finding.group);
        }
    }
    let mut text = String::new();
    for group in groups {
        text += &format!("{group}\n");
        for finding in findings.iter().filter(|finding| finding.group == group) {
            text += &format!("  {}  {:<18} {}\n", word(finding.verdict), finding.name, finding.seen);
            if !finding.mending.is_empty() {
                text += &format!("        {:<18} → {}\n", "", finding.mending);
            }
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text += &format!(
        "{} passed, {} warnings, {} failed\n",
        count(Verdict::Pass),
        count(Verdict::Warn),
        count(Verdict::Fail)
    );
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}

fn document(findings: &[Finding]) -> Value {
    let items: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "group": finding.group,
                "name": finding.name,
                "verdict": word(finding.verdict).to_ascii_lowercase(),
                "seen": finding.seen,
                "mending": finding.mending,
            })
        })
        .collect();
    json!({"apiVersion": "keelson.dev/v1", "kind": "Check", "items": items})
}
