//! The keeper's command line. Parsed by hand: the keeper is as small as it can be.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Where the keeper lives, in every cgroup hierarchy: outside the service that starts it.
pub const DEFAULT_CGROUP: &str = "/keelson/keeper";

/// How to run a keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperOptions {
    /// The state directory, made if it is missing.
    pub state: PathBuf,
    /// The cgroup to move to; `None` stays.
    pub cgroup: Option<String>,
    /// What this process is to do.
    pub stage: StartStage,
}

/// Which of its lives a keeper process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStage {
    /// Starts the second stage and waits until it listens.
    Launch,
    /// Detaches from whoever started it, then serves; stdout tells that it listens.
    Serve,
    /// Serves in the foreground, for a supervisor.
    Foreground,
    /// Goes on serving what an earlier executable left in this memfd.
    Resume(RawFd),
}

/// A command line that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    #[error("keelson keeper: {0} needs a value")]
    Value(&'static str),
    #[error(
        "keelson keeper: unknown argument {0:?}\nUsage: keelson keeper --state DIR [--cgroup PATH|none] [--foreground]"
    )]
    Unknown(OsString),
    #[error("Usage: keelson keeper --state DIR [--cgroup PATH|none] [--foreground]")]
    NoState,
}

impl StartStage {
    /// Whether children of this process become containers.
    pub(crate) fn launches(self) -> bool {
        self != StartStage::Launch
    }
}

impl KeeperOptions {
    /// Options for a state directory, otherwise as usual.
    pub fn new(state: PathBuf) -> KeeperOptions {
        KeeperOptions { state, cgroup: Some(DEFAULT_CGROUP.to_owned()), stage: StartStage::Launch }
    }

    /// Reads a command line; the first argument is the command's name.
    pub fn parse(arguments: &[OsString]) -> Result<KeeperOptions, UsageError> {
        let mut options = KeeperOptions::new(PathBuf::new());
        let mut rest = arguments.iter().skip(1);
        while let Some(argument) = rest.next() {
            let mut value = |name| rest.next().ok_or(UsageError::Value(name));
            match argument.to_str() {
                Some("--state") => options.state = PathBuf::from(value("--state")?),
                Some("--cgroup") => {
                    let path = value("--cgroup")?.to_string_lossy().into_owned();
                    options.cgroup = (path != "none").then_some(path);
                }
                Some("--foreground") => options.stage = StartStage::Foreground,
                Some("--serve") => options.stage = StartStage::Serve,
                Some("--resume") => {
                    let number = value("--resume")?.to_str().and_then(|text| text.parse().ok());
                    options.stage = StartStage::Resume(number.ok_or(UsageError::Value("--resume"))?);
                }
                _ => return Err(UsageError::Unknown(argument.clone())),
            }
        }
        if options.state.as_os_str().is_empty() { Err(UsageError::NoState) } else { Ok(options) }
    }

    /// The command line that [`KeeperOptions::parse`] reads, without the command's name.
    pub fn arguments(&self) -> Vec<OsString> {
        let cgroup = self.cgroup.as_deref().unwrap_or("none");
        let mut arguments: Vec<OsString> =
            vec!["--state".into(), self.state.clone().into(), "--cgroup".into(), cgroup.into()];
        match self.stage {
            StartStage::Launch => {}
            StartStage::Serve => arguments.push("--serve".into()),
            StartStage::Foreground => arguments.push("--foreground".into()),
            StartStage::Resume(state) => arguments.extend(["--resume".into(), state.to_string().into()]),
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let parse = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            KeeperOptions::parse(&words)
        };
        let plain = KeeperOptions::new("/run/keelson".into());
        for (line, stage) in [
            ("keeper --state /run/keelson", StartStage::Launch),
            ("keeper --state /run/keelson --serve", StartStage::Serve),
            ("keeper --foreground --state /run/keelson", StartStage::Foreground),
            ("keeper --state /run/keelson --resume 7", StartStage::Resume(7)),
        ] {
            let want = KeeperOptions { stage, ..plain.clone() };
            assert_eq!(parse(line), Ok(want.clone()), "{line}");
            let again: Vec<OsString> = [vec!["keeper".into()], want.arguments()].concat();
            assert_eq!(KeeperOptions::parse(&again), Ok(want), "{line}");
        }
        assert_eq!(parse("keeper --state /s --cgroup none").map(|o| o.cgroup), Ok(None));
        assert_eq!(parse("keeper"), Err(UsageError::NoState));
        assert_eq!(parse("keeper --state"), Err(UsageError::Value("--state")));
        assert_eq!(parse("keeper --state /s --resume x"), Err(UsageError::Value("--resume")));
        assert!(matches!(parse("keeper --stat /s"), Err(UsageError::Unknown(_))));
    }
}
