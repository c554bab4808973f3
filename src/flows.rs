//! `keelson flows`: what became of packets on this node, with the names of pods. Asks the agent over its own socket; root only.
//!
//! Drops are always there to see. With `-f` and without `--verdict DROPPED` the programs report the rest too, as long as
//! this runs: the first packet of a flow and every one that changes its state. `-o json` is a flow a line.
//!
//! Exit codes: 0, 1 the agent does not answer, 2 usage.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use ipnet::IpNet;

const USAGE: u8 = 2;
const VERSION: u32 = 1;
/// As many as Hubble shows.
const LAST: usize = 20;

/// Show what became of packets on this node
#[derive(Debug, Parser)]
struct Options {
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// The most of those that were before: 20, or all that --since asks for.
    #[arg(long)]
    last: Option<usize>,
    /// Not earlier: a moment (2026-11-28T16:20:33Z), or how long ago (90s, 5m).
    #[arg(long, value_parser = ::agent::flows::moment)]
    since: Option<jiff::Timestamp>,
    /// Not later.
    #[arg(long, value_parser = ::agent::flows::moment)]
    until: Option<jiff::Timestamp>,
    /// A pod on either end: [NAMESPACE/]NAME, or the beginning of the name.
    #[arg(long)]
    pod: Vec<String>,
    /// The pod that sends.
    #[arg(long)]
    from_pod: Vec<String>,
    /// The pod that receives.
    #[arg(long)]
    to_pod: Vec<String>,
    /// The namespace of a pod on either end.
    #[arg(short, long)]
    namespace: Vec<String>,
    /// Of the pod that sends.
    #[arg(long)]
    from_namespace: Vec<String>,
    /// Of the pod that receives.
    #[arg(long)]
    to_namespace: Vec<String>,
    /// DROPPED or FORWARDED.
    #[arg(long, ignore_case = true, value_parser = ["DROPPED", "FORWARDED"])]
    verdict: Vec<String>,
    /// Why it was dropped: POLICY_INGRESS and so on.
    #[arg(long)]
    drop_reason_desc: Vec<String>,
    /// TCP, UDP, SCTP, ICMPv4, ICMPv6.
    #[arg(long)]
    protocol: Vec<String>,
    /// A port on either end.
    #[arg(long)]
    port: Vec<u16>,
    /// The sender's.
    #[arg(long)]
    from_port: Vec<u16>,
    /// The receiver's.
    #[arg(long)]
    to_port: Vec<u16>,
    /// An address or a range on either end.
    #[arg(long, value_parser = ::agent::flows::range)]
    ip: Vec<IpNet>,
    /// The sender's.
    #[arg(long, value_parser = ::agent::flows::range)]
    from_ip: Vec<IpNet>,
    /// The receiver's.
    #[arg(long, value_parser = ::agent::flows::range)]
    to_ip: Vec<IpNet>,
    /// How to print them.
    #[arg(short, long, default_value = "compact")]
    output: Output,
    /// Where the agent keeps its socket.
    #[arg(long, default_value = "/run/keelson")]
    state_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Compact,
    Json,
}

/// Runs until the agent ends, or whoever reads this.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match show(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson flows: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn question(options: &Options) -> ::agent::flows::Question {
    let only_drops = options.verdict.iter().all(|verdict| verdict.eq_ignore_ascii_case("DROPPED"));
    ::agent::flows::Question {
        version: VERSION,
        follow: options.follow,
        all: options.verdict.is_empty() || !only_drops,
        last: options.last.unwrap_or(if options.since.is_some() { usize::MAX } else { LAST }),
        filter: ::agent::flows::Filter {
            pod: options.pod.clone(),
            from_pod: options.from_pod.clone(),
            to_pod: options.to_pod.clone(),
            namespace: options.namespace.clone(),
            from_namespace: options.from_namespace.clone(),
            to_namespace: options.to_namespace.clone(),
            verdict: options.verdict.clone(),
            drop_reason: options.drop_reason_desc.clone(),
            protocol: options.protocol.clone(),
            port: options.port.clone(),
            from_port: options.from_port.clone(),
            to_port: options.to_port.clone(),
            ip: options.ip.clone(),
            from_ip: options.from_ip.clone(),
            to_ip: options.to_ip.clone(),
            since: options.since.map(|since| since.to_string()),
            until: options.until.map(|until| until.to_string()),
        },
    }
}

fn show(options: &Options) -> anyhow::Result<()> {
    let path = options.state_dir.join(::agent::flows::SOCKET);
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("{}: is the network agent running, and are you root?", path.display()))?;
    let mut line = serde_json::to_string(&question(options))?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let value: serde_json::Value = serde_json::from_str(&line).context("the agent's answer")?;
        if let Some(error) = value["error"].as_str() {
            anyhow::bail!("{error}");
        }
        if let Some(lost) = value["lost"].as_u64() {
            eprintln!("keelson flows: {lost} flows were lost: this reader is too slow");
            continue;
        }
        let shown = match options.output {
            Output::Json => line,
            Output::Compact => serde_json::from_value::<::agent::flows::Flow>(value)?.compact(),
        };
        if writeln!(out, "{shown}").and_then(|()| out.flush()).is_err() {
            // Whoever read has seen enough.
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_wants_more_than_drops_makes_the_programs_report_more() {
        let all = |flags: &[&str]| {
            let flags = ["flows"].iter().chain(flags);
            question(&Options::try_parse_from(flags).expect("flags")).all
        };
        assert!(all(&[]) && all(&["-f", "--verdict", "FORWARDED"]));
        assert!(!all(&["--verdict", "DROPPED", "-f", "--pod", "web"]));
        assert!(Options::try_parse_from(["flows", "--ip", "nonsense"]).is_err());
        assert!(Options::try_parse_from(["flows", "--since", "5m", "--from-ip", "10.0.0.0/8"]).is_ok());
    }
}
