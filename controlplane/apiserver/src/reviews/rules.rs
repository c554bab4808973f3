//! SelfSubjectRulesReview: everything that the user may do in a namespace.

use api::status::Status;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::user::User;

/// The status.
pub(super) fn status(api: &ApiServer, user: &User, spec: &Value) -> Result<Value, Status> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let policy = api.server.authorizer.policy(&api.server.caches);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if user.is_in("system:masters") {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in policy.rules_of(user, namespace) {
        let shown = json!(rule);
        if rule.non_resource_urls.is_empty() { resources.push(shown) } else { paths.push(shown) }
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}
