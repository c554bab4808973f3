//! Bytes in memory behind a descriptor, sealed: nobody who receives it can change it.
//!
//! Reference: memfd_create(2), F_ADD_SEALS in fcntl(2).

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// A sealed copy of `bytes`, its offset at the start.
pub fn sealed(name: &str, bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let mut file =
        std::fs::File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let file = OwnedFd::from(file);
    seal(&file)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// Forbids every later change.
pub fn seal(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fcntl_add_seals(
        file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )
}

/// True when nobody can change the file any more.
pub fn is_sealed(file: impl AsFd) -> bool {
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn sealed_bytes_can_be_read_and_not_written() {
        let mut file = std::fs::File::from(sealed("test", b"abc").unwrap());
        let mut read = String::new();
        file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "abc");
        assert!(is_sealed(&file));
        assert!(file.write_all(b"x").is_err());
    }
}
