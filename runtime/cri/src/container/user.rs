//! Who a container's process is: names looked up in the container's own /etc/passwd and /etc/group.
//!
//! The files are the image's and hostile: they are opened through a descriptor of the container's root,
//! from which no link leads out, and read up to a bound. Nothing of the host's users is ever consulted.
//!
//! Reference: CRI `LinuxContainerSecurityContext`; passwd(5), group(5).

use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use cri_api::v1;
use cri_api::v1::SupplementalGroupsPolicy;
use oci_spec::runtime::User;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sys::rooted::{self, Links};

use crate::fault::{Fault, Outcome};

/// The longest passwd or group file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// As many groups as the kernel takes.
const GROUPS_MAX: usize = 65_536;

/// Numbers only, and the home directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Empty if passwd does not know the user.
    pub home: String,
}

/// What the request and the image ask for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A name or a number; empty for root.
    pub user: String,
    /// A name or a number; empty for the user's own.
    pub group: String,
    pub supplemental: Vec<u32>,
    /// Groups that /etc/group lists the user in belong to it.
    pub merge: bool,
}

impl ResolvedUser {
    pub fn to_oci(&self) -> User {
        let mut user = User::default();
        user.set_uid(self.uid).set_gid(self.gid).set_additional_gids(Some(self.groups.clone()));
        user
    }

    pub fn to_cri(&self) -> v1::ContainerUser {
        v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: self.uid.into(),
                gid: self.gid.into(),
                supplemental_groups: self.groups.iter().map(|gid| i64::from(*gid)).collect(),
            }),
        }
    }
}

impl Wanted {
    /// The request's user wins over the image's; a group alone is refused, as by other runtimes.
    pub fn of(security: &v1::LinuxContainerSecurityContext, image_user: &str) -> Outcome<Wanted> {
        let id = |name: &str, value: i64| {
            let id = u32::try_from(value).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| Fault::invalid(format!("{name} = {value}: expected 0 to {}", u32::MAX - 1)))
        };
        let user = match (&security.run_as_user, security.run_as_username.as_str()) {
            (Some(uid), _) => Some(id("run_as_user", uid.value)?.to_string()),
            (None, "") => None,
            (None, name) => Some(name.to_owned()),
        };
        let group = security.run_as_group.as_ref().map(|gid| id("run_as_group", gid.value)).transpose()?;
        if user.is_none() && group.is_some() {
            return Err(Fault::invalid(
                "user group is specified without user: run_as_group needs run_as_user or run_as_username",
            ));
        }
        let (image_user, image_group) = image_user.split_once(':').unwrap_or((image_user, ""));
        let from_image = user.is_none();
        Ok(Wanted {
            user: user.unwrap_or_else(|| image_user.to_owned()),
            group: group.map_or_else(
                || if from_image { image_group.to_owned() } else { String::new() },
                |gid| gid.to_string(),
            ),
            supplemental: security
                .supplemental_groups
                .iter()
                .map(|gid| id("supplemental_groups", *gid))
                .collect::<Outcome<_>>()?,
            merge: security.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge,
        })
    }

    /// Whether the root file system has to be looked into: not for plain root in images without a user file,
    /// but the answer is not known before, so always.
    pub fn resolve(&self, root: BorrowedFd<'_>) -> Outcome<ResolvedUser> {
        let passwd = read(root, "etc/passwd")?;
        let group = read(root, "etc/group")?;
        resolve(self, &passwd, &group)
    }
}

/// Pure: texts in, numbers out.
pub fn resolve(wanted: &Wanted, passwd: &str, group: &str) -> Outcome<ResolvedUser> {
    let asked = if wanted.user.is_empty() { "0" } else { wanted.user.as_str() };
    let number = number(asked)?;
    let entry = passwd.lines().map(fields).find(|entry| match number {
        Some(uid) => entry.get(2).and_then(|field| field.parse().ok()) == Some(uid),
        None => entry.first() == Some(&asked),
    });
    let uid = match (number, &entry) {
        (Some(uid), _) => uid,
        (None, Some(entry)) => parse_field(entry, 2)?,
        (None, None) => {
            return Err(Fault::invalid(format!(
                "no users found: user {asked:?} is not in the image's /etc/passwd"
            )));
        }
    };
    let own_gid = entry.as_ref().map(|entry| parse_field(entry, 3)).transpose()?.unwrap_or(0);
    let gid = if wanted.group.is_empty() { own_gid } else { find_group(&wanted.group, group)? };
    let mut groups = vec![gid];
    if wanted.merge
        && let Some(name) = entry.as_ref().and_then(|entry| entry.first())
    {
        groups.extend(memberships(name, group));
    }
    groups.extend(&wanted.supplemental);
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
    groups.truncate(GROUPS_MAX);
    let home = entry.as_ref().and_then(|entry| entry.get(5)).map_or(String::new(), |home| (*home).to_owned());
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(ResolvedUser { uid, gid, groups, home })
}

/// An id, or None for a name. A number that is no id is refused: were it looked up as a name, an image could pass
/// for another user than it runs as, and the highest one means "stay root" to the kernel.
fn number(text: &str) -> Outcome<Option<u32>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => {
            Err(Fault::invalid(format!("{text:?} is not a user or group id: expected 0 to {}", u32::MAX - 1)))
        }
    }
}

fn find_group(asked: &str, group: &str) -> Outcome<u32> {
    if let Some(gid) = number(asked)? {
        return Ok(gid);
    }
    let entry = group.lines().map(fields).find(|entry| entry.first() == Some(&asked));
    let entry = entry.ok_or_else(|| {
        Fault::invalid(format!("no groups found: group {asked:?} is not in the image's /etc/group"))
    })?;
    parse_field(&entry, 2)
}

/// Groups whose member list has the name.
fn memberships<'a>(name: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().map(fields).filter_map(move |entry| {
        let member = entry.get(3)?.split(',').any(|member| member.trim() == name);
        number(entry.get(2)?).ok()?.filter(|_| member)
    })
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

fn parse_field(entry: &[&str], field: usize) -> Outcome<u32> {
    let text = entry.get(field).copied().unwrap_or_default();
    number(text).ok().flatten().ok_or_else(|| {
        let name = entry.first().copied().unwrap_or_default();
        Fault::invalid(format!("the image's entry of {name:?} has {text:?} where a number belongs"))
    })
}

/// A file of the container's root; empty if it is not there. Anything but a regular file is refused.
fn read(root: BorrowedFd<'_>, path: &str) -> Outcome<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file: OwnedFd = match rooted::open(root, Path::new(path), flags, Links::Follow) {
        Ok(file) => file,
        Err(sys::Errno::NOENT | sys::Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(Fault::failed(format!("opening the image's /{path}"), errno)),
    };
    let file = std::fs::File::from(file);
    let what = || format!("reading the image's /{path}");
    let found = file.metadata().map_err(|error| Fault::failed(what(), error))?;
    if !found.is_file() {
        return Err(Fault::invalid(format!("the image's /{path} is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| Fault::failed(what(), error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/false\nodd:x:x:1::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:web,root\nplus:x:60:web\n";

    fn wanted(user: &str, group: &str, supplemental: &[u32], merge: bool) -> Wanted {
        Wanted { user: user.into(), group: group.into(), supplemental: supplemental.to_vec(), merge }
    }

    #[test]
    fn users_and_groups_are_found() {
        let check = |wanted: &Wanted, uid, gid, groups: &[u32], home: &str| {
            let found = resolve(wanted, PASSWD, GROUP).unwrap();
            assert_eq!(
                (found.uid, found.gid, found.groups.as_slice(), found.home.as_str()),
                (uid, gid, groups, home),
                "{wanted:?}"
            );
        };
        check(&wanted("", "", &[], true), 0, 0, &[0, 50], "/root");
        check(&wanted("web", "", &[], true), 33, 34, &[34, 50, 60], "/srv");
        check(&wanted("33", "", &[7], true), 33, 34, &[34, 50, 60, 7], "/srv");
        check(&wanted("web", "", &[7], false), 33, 34, &[34, 7], "/srv");
        check(&wanted("web", "logs", &[], false), 33, 50, &[50], "/srv");
        check(&wanted("4000", "5000", &[], true), 4000, 5000, &[5000], "/");
        check(&wanted("4000", "", &[], true), 4000, 0, &[0], "/");
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for (user, group) in [("nobody", ""), ("web", "none"), ("odd", ""), ("-1", "")] {
            assert!(resolve(&wanted(user, group, &[], true), PASSWD, GROUP).is_err(), "{user}:{group}");
        }
    }

    #[test]
    fn numbers_that_are_no_ids_do_not_become_root() {
        let passwd = "4294967296:x:0:0::/:\n-1:x:0:0::/:\nmax:x:4294967295:0::/:\nmaxg:x:5:4294967295::/:\n";
        let group = "4294967296:x:0:\nmax:x:4294967295:\n";
        for (user, own) in [
            ("4294967295", ""),
            ("4294967296", ""),
            ("-1", ""),
            ("max", ""),
            ("maxg", ""),
            ("5", "4294967295"),
            ("6", "4294967296"),
            ("6", "max"),
        ] {
            let found = resolve(&wanted(user, own, &[], true), passwd, group);
            assert!(found.is_err(), "{user}:{own} became {found:?}");
        }
    }

    #[test]
    fn the_request_wins_over_the_image() {
        let mut security = v1::LinuxContainerSecurityContext::default();
        let of = |security: &v1::LinuxContainerSecurityContext| {
            Wanted::of(security, "web:logs").map(|w| (w.user, w.group))
        };
        assert_eq!(of(&security).unwrap(), ("web".into(), "logs".into()));
        security.run_as_user = Some(v1::Int64Value { value: 7 });
        assert_eq!(of(&security).unwrap(), ("7".into(), String::new()));
        security.run_as_group = Some(v1::Int64Value { value: 8 });
        assert_eq!(of(&security).unwrap(), ("7".into(), "8".into()));
        security.run_as_user = None;
        assert!(of(&security).is_err());
        security.run_as_group = Some(v1::Int64Value { value: -1 });
        assert!(of(&security).is_err());
    }
}
