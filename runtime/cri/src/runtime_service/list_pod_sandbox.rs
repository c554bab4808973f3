//! ListPodSandbox: every sandbox that the filter lets through.

use std::sync::Arc;

use cri_api::v1;

use crate::fault::Outcome;
use crate::node::Node;
use crate::sandbox::{filter, status};

pub async fn call(
    node: &Arc<Node>,
    request: v1::ListPodSandboxRequest,
) -> Outcome<v1::ListPodSandboxResponse> {
    let wanted = request.filter.unwrap_or_default();
    let records = node.sandboxes.all().into_iter().map(|sandbox| sandbox.record());
    let items = records.filter(|record| filter::matches(record, &wanted)).map(|record| status::item(&record));
    Ok(v1::ListPodSandboxResponse { items: items.collect() })
}
