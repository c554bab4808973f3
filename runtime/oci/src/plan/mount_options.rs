//! Mount options of the specification, as a table: which attribute, propagation or flag each one is.
//!
//! What the table does not know goes to the filesystem itself.
//!
//! Reference: OCI runtime-spec `config.md` "Linux mount options"; mount(8).

use sys::mount::attribute as a;

use super::{Attributes, PlanError};

/// `MS_*` propagation flags.
pub(super) const MS_REC: u32 = 1 << 14;
pub(super) const MS_UNBINDABLE: u32 = 1 << 17;
pub(super) const MS_PRIVATE: u32 = 1 << 18;
pub(super) const MS_SLAVE: u32 = 1 << 19;
pub(super) const MS_SHARED: u32 = 1 << 20;

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Set(u64),
    Clear(u64),
    /// One of the access-time modes, which exclude each other.
    AccessTime(u64),
    Propagate(u32),
    Bind {
        recursive: bool,
    },
    /// `idmap` and `ridmap`.
    MapIds {
        recursive: bool,
    },
    CopyUp,
    /// Passed to the filesystem as a flag of its superblock.
    Superblock,
    Nothing,
}

/// The names an attribute option has; with an `r` before it applies to the whole tree.
const ATTRIBUTES: &[(&str, Effect)] = &[
    ("ro", Effect::Set(a::READ_ONLY)),
    ("rw", Effect::Clear(a::READ_ONLY)),
    ("nosuid", Effect::Set(a::NO_SUID)),
    ("suid", Effect::Clear(a::NO_SUID)),
    ("nodev", Effect::Set(a::NO_DEV)),
    ("dev", Effect::Clear(a::NO_DEV)),
    ("noexec", Effect::Set(a::NO_EXEC)),
    ("exec", Effect::Clear(a::NO_EXEC)),
    ("nodiratime", Effect::Set(a::NO_DIR_ATIME)),
    ("diratime", Effect::Clear(a::NO_DIR_ATIME)),
    ("nosymfollow", Effect::Set(a::NO_SYMLINK_FOLLOW)),
    ("symfollow", Effect::Clear(a::NO_SYMLINK_FOLLOW)),
    ("noatime", Effect::AccessTime(a::NO_ATIME)),
    ("relatime", Effect::AccessTime(a::RELATIVE_ATIME)),
    ("strictatime", Effect::AccessTime(a::STRICT_ATIME)),
    ("atime", Effect::AccessTime(a::RELATIVE_ATIME)),
    ("norelatime", Effect::AccessTime(a::STRICT_ATIME)),
    ("nostrictatime", Effect::AccessTime(a::RELATIVE_ATIME)),
];

const OTHERS: &[(&str, Effect)] = &[
    ("bind", Effect::Bind { recursive: false }),
    ("rbind", Effect::Bind { recursive: true }),
    ("idmap", Effect::MapIds { recursive: false }),
    ("ridmap", Effect::MapIds { recursive: true }),
    ("private", Effect::Propagate(MS_PRIVATE)),
    ("rprivate", Effect::Propagate(MS_PRIVATE | MS_REC)),
    ("slave", Effect::Propagate(MS_SLAVE)),
    ("rslave", Effect::Propagate(MS_SLAVE | MS_REC)),
    ("shared", Effect::Propagate(MS_SHARED)),
    ("rshared", Effect::Propagate(MS_SHARED | MS_REC)),
    ("unbindable", Effect::Propagate(MS_UNBINDABLE)),
    ("runbindable", Effect::Propagate(MS_UNBINDABLE | MS_REC)),
    ("tmpcopyup", Effect::CopyUp),
    ("sync", Effect::Superblock),
    ("dirsync", Effect::Superblock),
    ("lazytime", Effect::Superblock),
    ("async", Effect::Nothing),
    ("nolazytime", Effect::Nothing),
    // Since Linux 6.1 filesystems that can have it have it always.
    ("iversion", Effect::Nothing),
    ("noiversion", Effect::Nothing),
    ("mand", Effect::Nothing),
    ("nomand", Effect::Nothing),
    ("silent", Effect::Nothing),
    ("loud", Effect::Nothing),
    ("acl", Effect::Nothing),
    ("defaults", Effect::Nothing),
];

/// Parsed options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) attributes: Attributes,
    pub(super) recursive: Attributes,
    pub(super) propagation: Vec<u32>,
    pub(super) bind: Option<bool>,
    /// Given ids, of the whole tree when true.
    pub(super) id_map: Option<bool>,
    pub(super) copy_up: bool,
    /// For the filesystem: with or without a value.
    pub(super) data: Vec<(String, Option<String>)>,
}

/// Every name the table knows, for `features`.
pub(crate) fn known_names() -> Vec<String> {
    let recursive = ATTRIBUTES.iter().map(|(name, _)| format!("r{name}"));
    let plain = ATTRIBUTES.iter().chain(OTHERS).map(|(name, _)| (*name).to_owned());
    let mut names: Vec<String> = plain.chain(recursive).collect();
    names.sort();
    names
}

pub(super) fn parse(list: &[String]) -> Result<Options, PlanError> {
    let mut options = Options::default();
    for option in list {
        if option == "remount" {
            return Err(PlanError::invalid(
                "mounts.options",
                "`remount` has nothing to remount in a new container",
            ));
        }
        if let Some(effect) = find(ATTRIBUTES, option) {
            apply(effect, &mut options.attributes);
        } else if let Some(effect) = find(OTHERS, option) {
            apply_other(effect, option, &mut options);
        } else if let Some(effect) = option.strip_prefix('r').and_then(|name| find(ATTRIBUTES, name)) {
            apply(effect, &mut options.recursive);
        } else {
            let (key, value) = option.split_once('=').map_or((option.as_str(), None), |(k, v)| (k, Some(v)));
            options.data.push((key.to_owned(), value.map(str::to_owned)));
        }
    }
    Ok(options)
}

/// The propagation of a root filesystem by its name.
pub(super) fn propagation(name: &str) -> Option<u32> {
    match find(OTHERS, name) {
        Some(Effect::Propagate(flags)) => Some(flags),
        _ => None,
    }
}

fn find(table: &[(&str, Effect)], name: &str) -> Option<Effect> {
    table.iter().find(|(known, _)| *known == name).map(|(_, effect)| *effect)
}

fn apply(effect: Effect, attributes: &mut Attributes) {
    match effect {
        Effect::Set(bit) => {
            attributes.set |= bit;
            attributes.clear &= !bit;
        }
        Effect::Clear(bit) => {
            attributes.clear |= bit;
            attributes.set &= !bit;
        }
        Effect::AccessTime(mode) => {
            attributes.clear |= a::ACCESS_TIME;
            attributes.set = attributes.set & !a::ACCESS_TIME | mode;
        }
        _ => {}
    }
}

fn apply_other(effect: Effect, name: &str, options: &mut Options) {
    match effect {
        Effect::Propagate(flags) => options.propagation.push(flags),
        Effect::Bind { recursive } => options.bind = Some(recursive || options.bind == Some(true)),
        Effect::MapIds { recursive } => options.id_map = Some(recursive || options.id_map == Some(true)),
        Effect::CopyUp => options.copy_up = true,
        Effect::Superblock => options.data.push((name.to_owned(), None)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Options {
        let list: Vec<String> = list.split(',').map(str::to_owned).collect();
        parse(&list).unwrap()
    }

    #[test]
    fn attributes() {
        for (list, set, clear) in [
            ("ro", a::READ_ONLY, 0),
            ("ro,rw", 0, a::READ_ONLY),
            ("rw,ro", a::READ_ONLY, 0),
            ("nosuid,nodev,noexec", a::NO_SUID | a::NO_DEV | a::NO_EXEC, 0),
            ("noatime", a::NO_ATIME, a::ACCESS_TIME),
            ("noatime,strictatime", a::STRICT_ATIME, a::ACCESS_TIME),
            ("relatime", 0, a::ACCESS_TIME),
            ("defaults", 0, 0),
        ] {
            assert_eq!(parsed(list).attributes, Attributes { set, clear }, "{list}");
        }
    }

    #[test]
    fn recursive_attributes_stand_apart() {
        let options = parsed("rbind,rro,rnosuid");
        assert_eq!(options.recursive.set, a::READ_ONLY | a::NO_SUID);
        assert_eq!(options.attributes, Attributes::default());
        // `relatime` and `rw` begin with an r themselves; `rrelatime` is the recursive one.
        assert_eq!(parsed("rrelatime").recursive.clear, a::ACCESS_TIME);
        assert_eq!(parsed("rbind").bind, Some(true));
    }

    #[test]
    fn propagation_bind_and_data() {
        let options = parsed("bind,rslave,size=64k,mode=755,sync,newinstance,tmpcopyup");
        assert_eq!(options.propagation, [MS_SLAVE | MS_REC]);
        assert_eq!(options.bind, Some(false));
        assert!(options.copy_up);
        let data: Vec<_> = options.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(
            data,
            [("size", Some("64k")), ("mode", Some("755")), ("sync", None), ("newinstance", None)]
        );
    }

    #[test]
    fn refused() {
        assert!(parse(&["remount".to_owned()]).is_err());
    }

    #[test]
    fn no_name_stands_twice() {
        let names = known_names();
        let mut unique = names.clone();
        unique.dedup();
        assert_eq!(names, unique);
    }
}
