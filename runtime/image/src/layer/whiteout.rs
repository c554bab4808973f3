//! `.wh.` entries: how a layer says that something below it is gone.
//!
//! In the archive a whiteout is an empty file with a reserved name; in the directory it is what overlayfs
//! reads. A whiteout speaks about lower layers only, whether it stands before or after entries of its
//! own layer.
//!
//! Reference: OCI image spec, layer.md "Whiteouts".

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use sys::overlay;

use super::fault::Fault;
use super::place::{Place, is_folder};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of aufs, from the first years of Docker.
const BOOKKEEPING: &[u8] = b".wh..wh.";

/// What a name says.
#[derive(Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// Everything below in this folder is gone.
    Folder,
    /// This name is gone below.
    Name(OsString),
    /// Nothing for us.
    Ignored,
}

// === impl Whiteout ===

impl Whiteout {
    /// Reads a name; none for ordinary ones.
    pub fn parse(name: &OsStr) -> Result<Option<Whiteout>, Fault> {
        let Some(hidden) = name.as_bytes().strip_prefix(PREFIX) else { return Ok(None) };
        if name.as_bytes() == OPAQUE {
            return Ok(Some(Whiteout::Folder));
        }
        if name.as_bytes().starts_with(BOOKKEEPING) {
            return Ok(Some(Whiteout::Ignored));
        }
        match hidden {
            b"" | b"." | b".." => Err(Fault::refused("a whiteout of nothing")),
            name => Ok(Some(Whiteout::Name(OsString::from_vec(name.to_vec())))),
        }
    }
}

/// Hides a name of the lower layers.
pub fn hide(place: &Place) -> Result<(), Fault> {
    match place.stat()? {
        // This layer has put a folder there: what is below must not show through.
        Some(stat) if is_folder(&stat) => {
            overlay::set_opaque(place.fd(), &place.name).map_err(Fault::at("making a folder opaque"))
        }
        // Anything else of this layer hides it already.
        Some(_) => Ok(()),
        None => overlay::make_whiteout(place.fd(), &place.name).map_err(Fault::at("making a whiteout")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_told_apart() {
        for (name, wanted) in [
            ("file", None),
            (".wh", None),
            ("x.wh.y", None),
            (".wh.file", Some(Whiteout::Name("file".into()))),
            (".wh..hidden", Some(Whiteout::Name(".hidden".into()))),
            (".wh..wh..opq", Some(Whiteout::Folder)),
            (".wh..wh.plnk", Some(Whiteout::Ignored)),
        ] {
            assert_eq!(Whiteout::parse(OsStr::new(name)).unwrap(), wanted, "{name}");
        }
        for name in [".wh.", ".wh..", ".wh..."] {
            assert!(Whiteout::parse(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
