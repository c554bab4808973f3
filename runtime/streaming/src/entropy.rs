//! Random bytes from the kernel: tokens and keys that nobody can guess.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
