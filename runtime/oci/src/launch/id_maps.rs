//! Writes the maps of a new user namespace. Only its parent may; once.
//!
//! Reference: user_namespaces(7). setgroups stays allowed: the writer has CAP_SETGID outside.

use std::fmt::Write as _;

use sys::Errno;

use crate::plan::{IdMap, IdMaps};

pub(super) fn write(pid: i32, maps: &IdMaps) -> Result<(), Errno> {
    for (file, rows) in [("uid_map", &maps.uid), ("gid_map", &maps.gid)] {
        sys::procfs::write(&format!("{pid}/{file}"), text(rows).as_bytes())?;
    }
    Ok(())
}

/// All rows in one write: the kernel takes a map once.
fn text(rows: &[IdMap]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{} {} {}", row.container, row.host, row.size);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_line() {
        let row = |container, host| IdMap { container, host, size: 10 };
        assert_eq!(text(&[row(0, 1000), row(10, 5000)]), "0 1000 10\n10 5000 10\n");
    }
}
