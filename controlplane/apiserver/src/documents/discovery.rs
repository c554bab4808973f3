//! Which groups, versions and resources there are: aggregated for new clients, one by one for old ones.

use api::discovery;
use api::status::Status;
use api::wire::{Allow, Convert, negotiate};
use bytes::Bytes;
use http::header::ACCEPT;

use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

pub(super) fn answer(api: &ApiServer, request: &Request, words: &[&str]) -> Result<Answer, Status> {
    let registry = &api.server.registry.current();
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepted = negotiate(accept, Allow { discovery: true, ..Allow::default() })?;
    if let (Convert::Discovery(version), [prefix]) = (&accepted.convert, words) {
        let document = discovery::aggregated(registry, *prefix == "api", version);
        let content_type = discovery::aggregated_content_type(version).into();
        return Ok(Answer::Document { code: 200, content_type, bytes: Bytes::from(document.to_string()) });
    }
    let document = match words {
        ["api"] => Some(discovery::api_versions(registry, &api.advertised)),
        ["apis"] => Some(discovery::group_list(registry)),
        ["api", version] => discovery::resource_list(registry, "", version),
        ["apis", group] => discovery::group(registry, group),
        ["apis", group, version] => discovery::resource_list(registry, group, version),
        _ => None,
    };
    document.map(|document| Answer::json(&document)).ok_or_else(Status::no_such_path)
}
