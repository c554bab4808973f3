//! Which sandboxes a list request wants.

use std::collections::BTreeMap;

use cri_api::v1;

use super::SandboxRecord;
use super::status::state;

/// Every part of the filter must agree; an empty part agrees with all.
pub fn matches(record: &SandboxRecord, filter: &v1::PodSandboxFilter) -> bool {
    let id = filter.id.is_empty() || record.id.as_str().starts_with(&filter.id);
    let phase = filter.state.as_ref().is_none_or(|wanted| wanted.state == i32::from(state(record)));
    id && phase && has_labels(&record.config.labels, &filter.label_selector)
}

/// Whether all wanted labels are there with these values.
pub fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}
