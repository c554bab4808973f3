//! rdma: handles and objects for each adapter. The file is the same on v1 and v2.

use super::ResourceError;
use super::plan::{Writes, refuse};
use oci_spec::runtime::LinuxRdma;
use std::collections::{BTreeMap, HashMap};

pub(super) fn plan(
    devices: &HashMap<String, LinuxRdma>,
    writes: &mut Writes<'_>,
) -> Result<(), ResourceError> {
    for (device, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        writes.version("rdma")?;
        // The type has no accessors; its fields are reached by their names in the specification.
        let fields =
            serde_json::to_value(limits).map_err(|error| refuse("rdma", device, error.to_string()))?;
        let part =
            |key: &str, file_key: &str| fields[key].as_u64().map(|limit| format!(" {file_key}={limit}"));
        let handles = part("hcaHandles", "hca_handle").unwrap_or_default();
        let objects = part("hcaObjects", "hca_object").unwrap_or_default();
        writes.push("rdma", "rdma.max", format!("{device}{handles}{objects}"));
    }
    Ok(())
}
