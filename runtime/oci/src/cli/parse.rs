//! Reads the command line with as little of clap as the verb needs: describing all verbs costs more than a `start`.
//!
//! Help, mistakes and rare verbs get the whole description.

use std::ffi::OsString;

use clap::{Args as _, Command, FromArgMatches as _, Parser as _};

use super::{Arguments, Global, NAME, VERSION, Verb, create, delete, exec, kill, start, state};

/// Global flags that take their value from the next argument.
const WITH_VALUE: [&str; 5] = ["--root", "--log", "--log-format", "--criu", "--rootless"];

/// The verb, if it can be told without knowing more.
pub(super) fn verb(arguments: &[OsString]) -> Option<&str> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next().and_then(|argument| argument.to_str()) {
        if !argument.starts_with('-') {
            return Some(argument);
        }
        if WITH_VALUE.contains(&argument) {
            rest.next();
        }
    }
    None
}

pub(super) fn arguments(arguments: &[OsString], verb: Option<&str>) -> Result<Arguments, clap::Error> {
    let help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    let Some(narrow) = verb.filter(|_| !help).and_then(description) else {
        return Arguments::try_parse_from(arguments);
    };
    let command = Global::augment_args(Command::new(NAME).version(VERSION).disable_version_flag(true));
    let command = command.subcommand_required(true);
    let matches = command.subcommand(narrow).try_get_matches_from(arguments)?;
    Ok(Arguments { global: Global::from_arg_matches(&matches)?, verb: Verb::from_arg_matches(&matches)? })
}

/// The verbs that a container's life is made of.
fn description(verb: &str) -> Option<Command> {
    Some(match verb {
        "create" => create::Create::augment_args(Command::new("create")),
        "start" => start::Start::augment_args(Command::new("start")),
        "state" => state::State::augment_args(Command::new("state")),
        "kill" => kill::Kill::augment_args(Command::new("kill")),
        "delete" => delete::Delete::augment_args(Command::new("delete")),
        "exec" => exec::Exec::augment_args(Command::new("exec")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_found_behind_global_flags() {
        for (line, expect) in [
            ("oci state x", Some("state")),
            ("oci --root /r --log=/l --debug create -b /b x", Some("create")),
            ("oci --root create", None),
            ("oci --rootless=auto exec x ls", Some("exec")),
            ("oci --rootless auto exec x ls", Some("exec")),
            ("oci --version", None),
        ] {
            let list: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(verb(&list), expect, "{line}");
        }
    }

    #[test]
    fn the_narrow_way_reads_what_the_whole_one_reads() {
        for line in [
            "oci create --bundle /b --pid-file /p x",
            "oci --root /r start x",
            "oci --rootless false start x",
            "oci -v start x",
            "oci --log-format json --systemd-cgroup delete --force x",
            "oci kill --all x KILL",
            "oci exec -t -e A=b --cap CAP_CHOWN --user 1:2 x ls -l --all",
            "oci state",
            "oci start --nonsense x",
            "oci create",
        ] {
            let list: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let narrow = arguments(&list, verb(&list)).map(|parsed| format!("{parsed:?}"));
            let whole = Arguments::try_parse_from(&list).map(|parsed| format!("{parsed:?}"));
            assert_eq!(narrow.map_err(|e| e.kind()), whole.map_err(|e| e.kind()), "{line}");
        }
    }
}
