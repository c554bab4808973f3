//! Which groups, versions and resources there are: aggregated for new clients, one by one for old ones.

use api::discovery;
use api::status::Status;
use api::wire::{Allow, Convert, negotiate};
use aws_lc_rs::digest::{SHA512, digest};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue};

use super::tagged;
use crate::aggregation::{merge_groups, remote_group};
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

pub(super) fn answer(api: &ApiServer, request: &Request, words: &[&str]) -> Result<Answer, Status> {
    let registry = &api.server.registry.current();
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let routes = api.aggregation.routes();
    let accepted = negotiate(accept, Allow { discovery: true, ..Allow::default() })?;
    if let (Convert::Discovery(version), [prefix]) = (&accepted.convert, words) {
        let mut document = discovery::aggregated(registry, *prefix == "api", version);
        if let Some(items) = document["items"].as_array_mut().filter(|_| *prefix == "apis") {
            merge_groups(registry, &routes, items, true);
        }
        let bytes = Bytes::from(document.to_string());
        let hash = hex::encode_upper(digest(&SHA512, &bytes));
        let content_type = discovery::aggregated_content_type(version);
        let mut response = tagged::tagged(request, &content_type, &hash, || bytes);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        return Ok(tagged::answer(response));
    }
    let document = match words {
        ["api"] => Some(discovery::api_versions(registry, &api.advertised)),
        ["apis"] => {
            let mut document = discovery::group_list(registry);
            if let Some(items) = document["groups"].as_array_mut() {
                merge_groups(registry, &routes, items, false);
            }
            Some(document)
        }
        ["api", version] => discovery::resource_list(registry, "", version),
        ["apis", group] => remote_group(&routes, group, discovery::group(registry, group)),
        ["apis", group, version] => discovery::resource_list(registry, group, version),
        _ => None,
    };
    document.map(|document| Answer::json(&document)).ok_or_else(Status::no_such_path)
}
