//! Names of entries: split, checked and never trusted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::fault::Fault;

/// NAME_MAX and PATH_MAX.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4096;
/// Folders in folders; honest images have some 60.
const DEEPEST: usize = 512;

/// A path below the root of an image, without `.`, `..` and empty parts. Empty: the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPath(Vec<u8>);

// === impl EntryPath ===

impl EntryPath {
    /// A leading slash means the image's root.
    pub fn parse(bytes: &[u8]) -> Result<EntryPath, Fault> {
        if bytes.len() > LONGEST_PATH {
            return Err(Fault::refused("the path is longer than 4096 bytes"));
        }
        if bytes.contains(&0) {
            return Err(Fault::refused("the path contains a zero byte"));
        }
        let mut path = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for part in bytes.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".") {
            if part == b".." {
                return Err(Fault::refused("the path contains '..'"));
            }
            if part.len() > LONGEST_NAME {
                return Err(Fault::refused("a name in the path is longer than 255 bytes"));
            }
            depth += 1;
            if depth > DEEPEST {
                return Err(Fault::refused("the path is deeper than 512 folders"));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        Ok(EntryPath(path))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_os(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    pub fn parts(&self) -> impl Iterator<Item = &OsStr> {
        self.0.split(|b| *b == b'/').filter(|p| !p.is_empty()).map(OsStr::from_bytes)
    }

    /// Folder and name; none for the root.
    pub fn split(&self) -> Option<(EntryPath, &OsStr)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (EntryPath(self.0[..slash].to_vec()), OsStr::from_bytes(&self.0[slash + 1..])),
            None => (EntryPath::default(), OsStr::from_bytes(&self.0)),
        })
    }

    /// Every folder on the way, the outermost first, ending with the path itself.
    pub fn ancestry(&self) -> impl Iterator<Item = EntryPath> {
        let slashes = self.0.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let ends = slashes.chain((!self.is_root()).then_some(self.0.len()));
        ends.map(|end| EntryPath(self.0[..end].to_vec()))
    }

    #[must_use]
    pub fn join(&self, name: &OsStr) -> EntryPath {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        EntryPath(bytes)
    }

    /// The range of all paths below this one, without itself.
    pub fn inside(&self) -> std::ops::Range<EntryPath> {
        // '0' is the character after '/'.
        let end = |last: u8| EntryPath([self.0.as_slice(), &[last]].concat());
        end(b'/')..end(b'0')
    }

    /// What is left of the path below `folder`; none if it is elsewhere.
    pub fn below<'a>(&'a self, folder: &EntryPath) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(folder.bytes())?;
        if rest.is_empty() || folder.is_root() { Some(rest) } else { rest.strip_prefix(b"/") }
    }

    /// The same path with one of its folders moved.
    pub fn moved(&self, from: &EntryPath, to: &EntryPath) -> Option<EntryPath> {
        let rest = self.below(from)?;
        Some(if rest.is_empty() { to.clone() } else { to.join(OsStr::from_bytes(rest)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        for (text, plain) in [
            ("./a/b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("a//./b", "a/b"),
            ("./", ""),
            ("", ""),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(EntryPath::parse(text.as_bytes()).unwrap().bytes(), plain.as_bytes(), "{text}");
        }
        let long = format!("a/{}", "x".repeat(256));
        let deep = "a/".repeat(513);
        let longest = "a/".repeat(2100);
        for text in ["..", "a/../b", "../../etc/passwd", "a/..", "a\0b", &long, &deep, &longest] {
            assert!(matches!(EntryPath::parse(text.as_bytes()), Err(Fault::Refused(_))), "{text}");
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let path = EntryPath::parse(b"usr/lib/x").unwrap();
        let all: Vec<Vec<u8>> = path.ancestry().map(|p| p.bytes().to_vec()).collect();
        assert_eq!(all, [b"usr".to_vec(), b"usr/lib".to_vec(), b"usr/lib/x".to_vec()]);
        let (folder, name) = path.split().unwrap();
        assert_eq!((folder.bytes(), name), (b"usr/lib".as_slice(), OsStr::new("x")));
        let (from, to) = (EntryPath::parse(b"usr").unwrap(), EntryPath::parse(b"v/w").unwrap());
        assert_eq!(path.moved(&from, &to).unwrap().bytes(), b"v/w/lib/x");
        assert_eq!(EntryPath::parse(b"usrx").unwrap().moved(&from, &to), None);
        assert_eq!(EntryPath::default().ancestry().count(), 0);
    }
}
