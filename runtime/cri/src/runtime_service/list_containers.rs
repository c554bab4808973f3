//! ListContainers: every container that the filter lets through.

use std::sync::Arc;

use cri_api::v1;

use crate::container::{filter, status};
use crate::fault::Outcome;
use crate::node::Node;

pub async fn call(
    node: &Arc<Node>,
    request: v1::ListContainersRequest,
) -> Outcome<v1::ListContainersResponse> {
    let wanted = request.filter.unwrap_or_default();
    let records = node.containers.all().into_iter().map(|container| container.record());
    let items = records.filter(|record| filter::matches(record, &wanted)).map(|record| status::item(&record));
    Ok(v1::ListContainersResponse { containers: items.collect() })
}
