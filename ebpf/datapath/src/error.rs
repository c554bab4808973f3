//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    #[error("{}: {doing}", path.display())]
    Files { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("mounting a bpffs on {}; mount one there, or run as root", path.display())]
    Bpffs { path: PathBuf, source: io::Error },
    #[error("{} holds no data path of this version; the agent makes it (Datapath::ensure)", path.display())]
    NotLoaded { path: PathBuf },
    #[error("loading the programs; this needs Linux 5.18, CAP_BPF and CAP_NET_ADMIN")]
    Load { source: Box<aya::EbpfError> },
    #[error("the kernel refused the program {program}")]
    Program { program: &'static str, source: Box<aya::programs::ProgramError> },
    #[error("the kernel's verifier refused the program {program}, ending with: {said}")]
    Verifier { program: &'static str, said: String, source: io::Error },
    #[error("attaching {program} to {place}")]
    Attach { program: &'static str, place: String, source: Box<aya::programs::ProgramError> },
    #[error(
        "the driver of {link} takes no XDP program (native mode, Linux 5.18); use another link, or acceleration best-effort or disabled"
    )]
    Acceleration { link: String, source: Box<aya::programs::ProgramError> },
    #[error("pinning {}", path.display())]
    Pin { path: PathBuf, source: Box<aya::pin::PinError> },
    #[error("reading the link pinned at {}", path.display())]
    Link { path: PathBuf, source: Box<aya::programs::links::LinkError> },
    #[error("map {map}: {doing}")]
    Map { map: &'static str, doing: &'static str, source: Box<aya::maps::MapError> },
    #[error(
        "map {map} is full ({entries} entries); remove services or endpoints, or raise its size in ebpf/abi"
    )]
    Full { map: &'static str, entries: u32 },
    #[error("there is no link named {name} in this network namespace")]
    NoLink { name: String },
    #[error("{place} is neither an Ethernet device nor a veth pair of this namespace")]
    NotAVeth { place: String },
    #[error("asking for links")]
    Netlink { source: Box<netlink::NetlinkError> },
    #[error("asking for the cookie of a network namespace")]
    Cookie { source: Box<sys::netns::NetnsError> },
    #[error("an address of one family was given where the other is needed: {what}")]
    Family { what: String },
    #[error("the configuration of the data path: {problem}")]
    Config { problem: String },
}

/// Of a verifier's log: what it stumbled over comes last.
const SAID_LINES: usize = 6;

impl DatapathError {
    /// A program that cannot be loaded. The verifier's whole log can be a megabyte and is told at level debug.
    pub(crate) fn refused(program: &'static str, source: aya::programs::ProgramError) -> DatapathError {
        let aya::programs::ProgramError::LoadError { io_error, verifier_log } = source else {
            return DatapathError::Program { program, source: Box::new(source) };
        };
        let log = verifier_log.to_string();
        tracing::debug!(program, log, "the verifier's log");
        DatapathError::Verifier { program, said: last_lines(&log), source: io_error }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SAID_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_verifiers_log_the_end_is_told() {
        let check = |log: &str, expect: &str| assert_eq!(last_lines(log), expect);
        check("", "");
        check("a\n\nb\n", "a | b");
        check("1\n2\n3\n4\n5\n6\n7\nR4 !read_ok\n", "3 | 4 | 5 | 6 | 7 | R4 !read_ok");
    }
}
