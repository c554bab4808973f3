//! What `keelson oci` leaves on a host while containers exist: their records. Their cgroups carry the names that
//! whoever made them chose, so they are found through the records, not by a pattern.

use std::path::Path;

use sys::footprint::Footprint;

/// The state below one `--root`.
pub fn footprint(root: &Path) -> Footprint {
    Footprint { files: vec![root.to_owned()], ..Footprint::default() }
}
