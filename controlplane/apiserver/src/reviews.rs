//! Questions that are posted and answered, never stored: who am I, may I, is this token good.

mod access;
mod rules;
mod subject;
mod token;

use api::kind::Kind;
use api::path::CreateOptions;
use api::status::Status;

use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::body;
use crate::request::Request;

/// Answers a create of a kind that has no storage.
pub fn create(
    api: &ApiServer,
    request: &Request,
    kind: &'static Kind,
    bytes: &[u8],
) -> Result<Answer, Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (mut object, warnings) = body::object(request, kind, bytes, options.field_validation)?;
    object["status"] = match kind.kind {
        "SelfSubjectReview" => subject::status(&request.user),
        "TokenReview" if object["spec"]["token"].as_str().unwrap_or_default().is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        "TokenReview" => token::status(api, request, &object["spec"]),
        "SelfSubjectAccessReview" => access::status(api, &request.user, &object["spec"])?,
        "SubjectAccessReview" => access::status_of_another(api, &object["spec"])?,
        "LocalSubjectAccessReview" => access::local_status(api, request, &object["spec"])?,
        "SelfSubjectRulesReview" => rules::status(api, &request.user, &object["spec"])?,
        _ => return Err(Status::method_not_supported(kind.qualified_resource(), "create")),
    };
    Ok(Answer::subobject(201, kind, object).warn(warnings))
}
