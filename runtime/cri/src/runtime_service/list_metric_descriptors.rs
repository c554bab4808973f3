//! ListMetricDescriptors: the names of all metrics and their labels.

use cri_api::v1;

use crate::fault::Outcome;
use crate::metrics;

pub fn call() -> Outcome<v1::ListMetricDescriptorsResponse> {
    Ok(v1::ListMetricDescriptorsResponse { descriptors: metrics::descriptors() })
}
