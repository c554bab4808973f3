//! Which part of Keelson a command line asks for.
//!
//! Pure: the table below is the whole command surface that exists. A command that is not in it is
//! refused with the names that are.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// A part that the executable can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `keelson version`
    Version,
    /// `keelson help`, `-h`, `--help`
    Help,
}

/// Commands as users type them: name, part, one line for the help.
const COMMANDS: &[(&str, Part, &str)] =
    &[("version", Part::Version, "print the version of Keelson and what it speaks")];

/// Why no part was picked.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No command given.
    Nothing,
    /// A command that does not exist.
    Unknown(String),
}

impl Refusal {
    /// 2: usage, as for every command of ours.
    pub fn exit_code(&self) -> u8 {
        2
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Nothing => write!(f, "{}", usage()),
            Refusal::Unknown(name) => {
                write!(f, "keelson: no command {name:?}; there are:")?;
                for (name, _, _) in COMMANDS {
                    write!(f, " {name}")?;
                }
                Ok(())
            }
        }
    }
}

/// What `keelson help` prints.
pub fn usage() -> String {
    let mut text = String::from("Kubernetes for bare-metal Linux in one file.\n\nUsage: keelson COMMAND [ARGUMENTS]\n\n");
    for (name, _, about) in COMMANDS {
        text.push_str(&format!("  {name:<10} {about}\n"));
    }
    text.push_str("\n`keelson COMMAND --help` tells the flags of a command.\n");
    text
}

/// Picks the part from the arguments (the executable's name first) and whether a container runtime
/// called us as its CNI plugin. The rest begins with the name for the part's own usage lines.
pub fn pick(arguments: &[OsString], cni_command_set: bool) -> Result<(Part, Vec<OsString>), Refusal> {
    let _ = cni_command_set;
    let called = arguments.first().map(|a| base_name(a)).unwrap_or_default();
    let _ = called;
    let Some(first) = arguments.get(1) else { return Err(Refusal::Nothing) };
    let name = first.to_string_lossy();
    if matches!(name.as_ref(), "help" | "-h" | "--help") {
        return Ok((Part::Help, Vec::new()));
    }
    let name = if matches!(name.as_ref(), "-V" | "--version") { "version".into() } else { name };
    let Some((_, part, _)) = COMMANDS.iter().find(|(command, ..)| *command == name) else {
        return Err(Refusal::Unknown(name.into_owned()));
    };
    let mut rest = vec![OsString::from(format!("keelson {name}"))];
    rest.extend_from_slice(&arguments[2..]);
    Ok((*part, rest))
}

fn base_name(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
