//! Which containers a list request wants.

use cri_api::v1;

use super::ContainerRecord;
use super::status::state;
use crate::sandbox::filter::has_labels;

/// Every part of the filter must agree; an empty part agrees with all. Ids may be shortened.
pub fn matches(record: &ContainerRecord, filter: &v1::ContainerFilter) -> bool {
    record.id.as_str().starts_with(&filter.id)
        && record.sandbox.as_str().starts_with(&filter.pod_sandbox_id)
        && filter.state.as_ref().is_none_or(|wanted| wanted.state == i32::from(state(record)))
        && has_labels(&record.config.labels, &filter.label_selector)
}

/// The same for statistics, which have no state.
pub fn matches_stats(record: &ContainerRecord, filter: &v1::ContainerStatsFilter) -> bool {
    record.id.as_str().starts_with(&filter.id)
        && record.sandbox.as_str().starts_with(&filter.pod_sandbox_id)
        && has_labels(&record.config.labels, &filter.label_selector)
}
