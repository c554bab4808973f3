//! The last part of the way: working directory, the program's file, the gate, execve.

use std::ffi::CString;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FileType, OFlags};
use sys::rooted::{self, Links};
use sys::{Errno, descriptors, process};

use super::{Child, Failure};
use crate::launch::Report;

/// A passwd larger than this is not read on: it is the image's, so it may be anything.
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// What a program is given as home when passwd does not know its user.
const HOME_UNKNOWN: &str = "/";

impl Child {
    /// The sixth field of the user's line in the container's passwd.
    pub(super) fn find_home(&mut self, uid: u32) -> Result<(), Failure> {
        let root = self.root_or_slash()?;
        let home = passwd(root).and_then(|text| home_of(&text, uid));
        self.home = Some(home.unwrap_or_else(|| HOME_UNKNOWN.to_owned()));
        self.root = None;
        Ok(())
    }

    pub(super) fn find_program(&mut self, name: &str, directories: &[PathBuf]) -> Result<(), Failure> {
        let found = if name.contains('/') {
            runnable(Path::new(name)).map(|()| PathBuf::from(name)).map_err(|errno| match errno {
                Errno::NOENT => Failure::new(errno, format!("stat {name}: no such file or directory")),
                errno => Failure::new(errno, "permission denied"),
            })
        } else {
            search(name, directories)
        }?;
        let found = found.into_os_string().into_encoded_bytes();
        self.program = Some(CString::new(found).map_err(|_| Errno::INVAL)?);
        Ok(())
    }

    pub(super) fn wait_at_gate(&mut self) -> Result<(), Failure> {
        // `create` may have left already when another process opens the gate.
        let _gone = self.channel.report(&Report::AtGate);
        let Some(gate) = self.gate.take() else { return Ok(()) };
        let mut byte = [0u8; 1];
        loop {
            match rustix::io::read(&gate, &mut byte[..]) {
                // Everybody who could open the gate is dead: nobody would hold the program.
                Ok(0) => return Err(Errno::PIPE.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    pub(super) fn become_program(
        &mut self,
        arguments: &[String],
        environment: &[String],
    ) -> Result<(), Failure> {
        let program = self.program.take().ok_or(Errno::NOENT)?;
        let home = self.home.as_ref().map(|home| format!("HOME={home}"));
        let arguments = c_strings(arguments.iter())?;
        let environment = c_strings(environment.iter().chain(home.as_ref()))?;
        descriptors::close_on_exec_from(self.inherited_end)?;
        self.announce();
        match process::execve(&program, &arguments, &environment) {
            Ok(never) => match never {},
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Changes directory. The first attempt, with root's rights, may be refused by the filesystem where the
/// user's own succeeds.
pub(super) fn working_directory(path: &Path, last: bool) -> Result<(), Failure> {
    match rustix::process::chdir(path) {
        Err(Errno::ACCESS | Errno::PERM) if !last => return Ok(()),
        result => result?,
    }
    // The kernel says `(unreachable)` when a leaked descriptor led out of the root.
    let place = rustix::process::getcwd(Vec::new())?;
    if place.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Failure::new(Errno::PERM, "the working directory is outside the container"))
}

fn c_strings<'a>(strings: impl Iterator<Item = &'a String>) -> Result<Vec<CString>, Failure> {
    strings.map(|s| CString::new(s.as_bytes()).map_err(|_| Errno::INVAL.into())).collect()
}

fn search(name: &str, directories: &[PathBuf]) -> Result<PathBuf, Failure> {
    let mut refused = false;
    for directory in directories {
        let candidate = directory.join(name);
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => refused = true,
            Err(_) => {}
        }
    }
    if refused {
        return Err(Failure::new(Errno::ACCESS, "permission denied"));
    }
    Err(Failure::new(Errno::NOENT, "executable file not found in $PATH"))
}

fn runnable(path: &Path) -> Result<(), Errno> {
    if FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) == FileType::Directory {
        return Err(Errno::ACCESS);
    }
    rustix::fs::access(path, Access::EXEC_OK)
}

fn passwd(root: std::os::fd::BorrowedFd<'_>) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rooted::open(root, Path::new("etc/passwd"), flags, Links::Follow).ok()?;
    if rooted::file_type(file.as_fd()).ok()? != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(PASSWD_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn home_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let matches = fields.next()?.parse() == Ok(uid);
        fields.nth(2).filter(|home| matches && !home.is_empty()).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_sixth_field() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbad\n#c\nweb:x:33:33:w:/var/www:/bin/false\nx:x:7:7:::\n";
        for (uid, expect) in [(0, Some("/root")), (33, Some("/var/www")), (7, None), (8, None)] {
            assert_eq!(home_of(passwd, uid).as_deref(), expect, "{uid}");
        }
    }
}
