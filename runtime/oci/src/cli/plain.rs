//! The command lines that programs write, read without clap: describing flags to it touches more memory than all else
//! that a `start` does.
//!
//! Only the verbs of a container's life, only flags and values in full, each once. Whatever else there is on a line, help
//! and mistakes above all, is left to clap, which reads these lines the same way.

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::BundleOptions;
use super::{Arguments, DEFAULT_ROOT, Global, Verb, create, delete, kill, start, state};

/// A flag with what stands behind its `=`, or a word.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Flag(&'a str, Option<&'a str>),
    Word(&'a str),
}

/// None: ask clap.
pub(super) fn arguments(list: &[OsString]) -> Option<Arguments> {
    let pieces = list.iter().skip(1).map(|argument| piece(argument.to_str()?)).collect::<Option<Vec<_>>>()?;
    let mut line = Line { pieces: pieces.into_iter(), seen: Vec::new() };
    let mut global = Global {
        root: DEFAULT_ROOT.into(),
        log: None,
        log_format: "text".into(),
        debug: false,
        criu: None,
        systemd_cgroup: false,
        rootless: "auto".into(),
        version: None,
    };
    let verb = loop {
        match line.next()? {
            Piece::Word(verb) => break verb,
            Piece::Flag("--root", value) => global.root = line.value("--root", value)?.into(),
            Piece::Flag("--log", value) => global.log = Some(line.value("--log", value)?.into()),
            Piece::Flag("--log-format", value) => {
                let format = line.value("--log-format", value)?;
                global.log_format = Some(format).filter(|format| ["text", "json"].contains(format))?.into();
            }
            Piece::Flag("--debug", None) => global.debug = line.once("--debug")?,
            Piece::Flag("--systemd-cgroup", None) => global.systemd_cgroup = line.once("--systemd-cgroup")?,
            Piece::Flag(..) => return None,
        }
    };
    line.seen.clear();
    let verb = match verb {
        "create" => line.create()?,
        "start" => Verb::Start(start::Start { id: line.only_word()? }),
        "state" => Verb::State(state::State { id: line.only_word()? }),
        "kill" => line.kill()?,
        "delete" => line.delete()?,
        _ => return None,
    };
    Some(Arguments { global, verb })
}

fn piece(argument: &str) -> Option<Piece<'_>> {
    if !argument.starts_with('-') {
        return Some(Piece::Word(argument));
    }
    match argument.split_once('=') {
        // An empty value, `-`, `--`, joined short flags: not plain.
        Some((flag, value)) => {
            (flag.starts_with("--") && !value.is_empty()).then_some(Piece::Flag(flag, Some(value)))
        }
        None => (argument.len() == 2 && argument != "--" || argument.len() > 2 && argument.starts_with("--"))
            .then_some(Piece::Flag(argument, None)),
    }
}

struct Line<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    seen: Vec<&'static str>,
}

impl<'a> Line<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        self.pieces.next()
    }

    /// True, the first time.
    fn once(&mut self, flag: &'static str) -> Option<bool> {
        let first = !self.seen.contains(&flag);
        self.seen.push(flag);
        first.then_some(true)
    }

    fn value(&mut self, flag: &'static str, given: Option<&'a str>) -> Option<&'a str> {
        self.once(flag)?;
        match given {
            Some(value) => Some(value),
            None => match self.next()? {
                Piece::Word(value) => Some(value).filter(|value| !value.is_empty()),
                Piece::Flag(..) => None,
            },
        }
    }

    fn only_word(&mut self) -> Option<String> {
        match (self.next()?, self.next()) {
            (Piece::Word(word), None) => Some(word.to_owned()),
            _ => None,
        }
    }

    fn create(&mut self) -> Option<Verb> {
        let mut options = BundleOptions {
            bundle: ".".into(),
            console_socket: None,
            pid_file: None,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
        };
        let mut id = None;
        while let Some(piece) = self.next() {
            match piece {
                Piece::Flag("--bundle" | "-b", value) => {
                    options.bundle = self.value("--bundle", value)?.into()
                }
                Piece::Flag("--console-socket", value) => {
                    options.console_socket = Some(PathBuf::from(self.value("--console-socket", value)?));
                }
                Piece::Flag("--pid-file", value) => {
                    options.pid_file = Some(PathBuf::from(self.value("--pid-file", value)?));
                }
                Piece::Flag("--no-pivot", None) => options.no_pivot = self.once("--no-pivot")?,
                Piece::Flag("--no-new-keyring", None) => {
                    options.no_new_keyring = self.once("--no-new-keyring")?;
                }
                Piece::Flag("--preserve-fds", value) => {
                    options.preserve_fds = self.value("--preserve-fds", value)?.parse().ok()?;
                }
                Piece::Word(word) if id.is_none() => id = Some(word.to_owned()),
                _ => return None,
            }
        }
        Some(Verb::Create(create::Create { options, id: id? }))
    }

    fn kill(&mut self) -> Option<Verb> {
        let mut all = false;
        let mut words = Vec::new();
        while let Some(piece) = self.next() {
            match piece {
                Piece::Flag("--all" | "-a", None) => all = self.once("--all")?,
                Piece::Word(word) => words.push(word.to_owned()),
                Piece::Flag(..) => return None,
            }
        }
        let mut words = words.into_iter();
        let (id, signal, more) = (words.next()?, words.next(), words.next());
        let signal = signal.unwrap_or_else(|| kill::DEFAULT_SIGNAL.to_owned());
        more.is_none().then_some(Verb::Kill(kill::Kill { all, id, signal }))
    }

    fn delete(&mut self) -> Option<Verb> {
        let (mut force, mut id) = (false, None);
        while let Some(piece) = self.next() {
            match piece {
                Piece::Flag("--force" | "-f", None) => force = self.once("--force")?,
                Piece::Word(word) if id.is_none() => id = Some(word.to_owned()),
                _ => return None,
            }
        }
        Some(Verb::Delete(delete::Delete { force, id: id? }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn plain_lines_are_read_as_clap_reads_them() {
        for (line, plain) in [
            ("oci create --bundle /b --pid-file /p x", true),
            ("oci create x -b /b --console-socket=/s --no-pivot --no-new-keyring --preserve-fds 3", true),
            ("oci --root /r --log=/l --log-format json --debug --systemd-cgroup start x", true),
            ("oci state x", true),
            ("oci kill x", true),
            ("oci kill --all x KILL", true),
            ("oci kill x 9 -a", true),
            ("oci delete --force x", true),
            ("oci delete x -f", true),
            ("oci create --bundle", false),
            ("oci create --bundle --no-pivot x", false),
            ("oci create --bundle= x", false),
            ("oci create --no-pivot --no-pivot x", false),
            ("oci create --no-pivot=true x", false),
            ("oci create --preserve-fds three x", false),
            ("oci create -b/b x", false),
            ("oci create --nonsense x", false),
            ("oci create --help", false),
            ("oci create", false),
            ("oci create x y", false),
            ("oci start -- x", false),
            ("oci start -", false),
            ("oci start x y", false),
            ("oci start --debug x", false),
            ("oci --log-format yaml start x", false),
            ("oci --rootless=auto start x", false),
            ("oci --root /a --root /b start x", false),
            ("oci kill x 9 more", false),
            ("oci kill", false),
            ("oci delete -ff x", false),
            ("oci delete", false),
            ("oci run x", false),
            ("oci", false),
        ] {
            let list: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = arguments(&list).map(|parsed| format!("{parsed:?}"));
            assert_eq!(found.is_some(), plain, "{line}");
            if let Some(found) = found {
                let whole = Arguments::try_parse_from(&list).map(|parsed| format!("{parsed:?}"));
                assert_eq!(Some(found), whole.ok(), "{line}");
            }
        }
    }
}
