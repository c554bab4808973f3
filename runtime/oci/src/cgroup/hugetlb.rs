//! hugetlb: a limit for each size of huge page, on touching and, where the kernel can, already on reserving.

use super::ResourceError;
use super::plan::{Writes, or_max, refuse};
use oci_spec::runtime::LinuxHugepageLimit;
use sys::cgroup::Version;

pub(super) fn plan(limits: &[LinuxHugepageLimit], writes: &mut Writes<'_>) -> Result<(), ResourceError> {
    for limit in limits {
        let version = writes.version("hugetlb")?;
        let size = limit.page_size();
        if !writes.observed.huge_pages.iter().any(|known| known == size) {
            let why = format!("this machine has {}", writes.observed.huge_pages.join(", "));
            return Err(refuse("hugepageLimits.pageSize", size, why));
        }
        let (suffix, value) = match version {
            Version::V1 => ("limit_in_bytes", limit.limit().to_string()),
            Version::V2 => ("max", or_max(limit.limit())),
        };
        writes.push("hugetlb", format!("hugetlb.{size}.{suffix}"), &value);
        if writes.observed.huge_page_reservations {
            writes.push("hugetlb", format!("hugetlb.{size}.rsvd.{suffix}"), value);
        }
    }
    Ok(())
}
