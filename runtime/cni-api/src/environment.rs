//! The variables by which a runtime calls a plugin.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CniError, Code};

/// IFNAMSIZ - 1.
const IFNAME_BYTES_MAX: usize = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// One interface of one container: what ADD makes and DEL removes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    pub container: String,
    pub ifname: String,
}

/// What CNI_* say. Fields that a command does not use may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub command: Command,
    pub attachment: Attachment,
    /// Path of the network namespace; empty when it is already gone (DEL only).
    pub netns: String,
    /// CNI_ARGS, split.
    pub args: Vec<(String, String)>,
    /// Directories with plugins.
    pub path: String,
}

// === impl Command ===

impl Command {
    const ALL: [(Command, &'static str); 6] = [
        (Command::Add, "ADD"),
        (Command::Del, "DEL"),
        (Command::Check, "CHECK"),
        (Command::Gc, "GC"),
        (Command::Status, "STATUS"),
        (Command::Version, "VERSION"),
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        Command::ALL.iter().find(|(command, _)| *command == self).map_or("", |(_, name)| name)
    }
}

impl FromStr for Command {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Command, CniError> {
        let known = Command::ALL.iter().find(|(_, name)| *name == text).map(|(command, _)| *command);
        known.ok_or_else(|| wrong("CNI_COMMAND", text, "ADD, DEL, CHECK, GC, STATUS or VERSION"))
    }
}

// === impl Environment ===

impl Environment {
    /// Reads the variables that `get` gives and checks those that the command needs.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Environment, CniError> {
        let variable = |name: &str| get(name).unwrap_or_default();
        let command: Command = variable("CNI_COMMAND").parse()?;
        let environment = Environment {
            command,
            attachment: Attachment { container: variable("CNI_CONTAINERID"), ifname: variable("CNI_IFNAME") },
            netns: variable("CNI_NETNS"),
            args: split_args(&variable("CNI_ARGS"))?,
            path: variable("CNI_PATH"),
        };
        environment.check()?;
        Ok(environment)
    }

    /// The variables to execute a plugin with.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let args: Vec<String> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let all = [
            ("CNI_COMMAND", self.command.as_str().to_owned()),
            ("CNI_CONTAINERID", self.attachment.container.clone()),
            ("CNI_IFNAME", self.attachment.ifname.clone()),
            ("CNI_NETNS", self.netns.clone()),
            ("CNI_ARGS", args.join(";")),
            ("CNI_PATH", self.path.clone()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    fn check(&self) -> Result<(), CniError> {
        let Attachment { container, ifname } = &self.attachment;
        if matches!(self.command, Command::Add | Command::Del | Command::Check) {
            if !is_identifier(container) {
                return Err(wrong(
                    "CNI_CONTAINERID",
                    container,
                    "letters, digits, '_', '.', '-', first a letter or digit",
                ));
            }
            if !is_ifname(ifname) {
                return Err(wrong(
                    "CNI_IFNAME",
                    ifname,
                    "the name of a link: 1 to 15 bytes without '/', ':' or blanks",
                ));
            }
        }
        if matches!(self.command, Command::Add | Command::Check) && self.netns.is_empty() {
            return Err(wrong("CNI_NETNS", "", "the path of a network namespace"));
        }
        Ok(())
    }
}

/// What container ids and network names look like.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_ifname(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= IFNAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}

fn split_args(text: &str) -> Result<Vec<(String, String)>, CniError> {
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    let split = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(wrong("CNI_ARGS", pair, "KEY=VALUE pairs between semicolons")),
    };
    pairs.map(split).collect()
}

fn wrong(name: &str, got: &str, expected: &str) -> CniError {
    let msg = if got.is_empty() { format!("{name} is not set") } else { format!("{name} is {got:?}") };
    CniError::new(Code::InvalidEnvironment, msg).details(format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, CniError> {
        let get =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Environment::read(get)
    }

    #[test]
    fn each_command_needs_its_variables() {
        let add =
            [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/x")];
        let parsed = read(&add).unwrap();
        assert_eq!(parsed.attachment.ifname, "eth0");
        for missing in 0..add.len() {
            let rest: Vec<_> =
                add.iter().enumerate().filter(|(k, _)| *k != missing).map(|(_, v)| *v).collect();
            assert_eq!(read(&rest).unwrap_err().code, 4, "without {}", add[missing].0);
        }
        assert!(read(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0")]).is_ok());
        assert!(read(&[("CNI_COMMAND", "VERSION")]).is_ok());
        assert!(read(&[("CNI_COMMAND", "GC")]).is_ok());
    }

    #[test]
    fn hostile_names_are_refused() {
        let with = |container: &str, ifname: &str| {
            read(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", container), ("CNI_IFNAME", ifname)])
        };
        for (container, ifname) in [
            ("../x", "eth0"),
            ("a/b", "eth0"),
            (".hidden", "eth0"),
            ("c", "a/b"),
            ("c", ".."),
            ("c", "longer-than-fifteen"),
        ] {
            assert_eq!(with(container, ifname).unwrap_err().code, 4, "{container} {ifname}");
        }
    }

    #[test]
    fn variables_survive_their_way() {
        let environment = Environment {
            command: Command::Add,
            attachment: Attachment { container: "c1".into(), ifname: "eth0".into() },
            netns: "/run/netns/x".into(),
            args: vec![("K8S_POD_NAME".into(), "p".into()), ("IgnoreUnknown".into(), "1".into())],
            path: "/opt/cni/bin".into(),
        };
        let variables = environment.variables();
        let borrowed: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(read(&borrowed).unwrap(), environment);
    }
}
