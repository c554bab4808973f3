//! `pods/log`: checks what is asked, and streams the kubelet's answer as it comes.
//!
//! Reference: PodLogOptions of core/v1.

use api::field::FieldError;
use api::path::Query;
use api::status::{Details, Qualified, Reason, Status};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;

use super::exchange::{Exchange, streamed};
use super::{location, node_of};
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::request::Request;

/// How much of a kubelet's refusal is passed on, as upstream.
const MOST_ERROR_BYTES: usize = 50_000;
/// Numbers that a request may give, with what they must at least be.
const NUMBERS: [(&str, i64); 3] = [("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1)];

/// Answers a get of `pods/NAME/log`.
pub(super) async fn get(api: &ApiServer, request: &Request, pod: &Value) -> Result<Answer, Status> {
    let name = &request.info.name;
    let wanted = options(&request.query, name)?;
    let container = location::container(pod, request.query.get("container").unwrap_or_default())?;
    let node = location::node(pod);
    if node.is_empty() {
        // Nothing was written yet.
        return Ok(Answer::Raw(Box::new(super::empty(http::StatusCode::NO_CONTENT))));
    }
    let address = node_of(api, node)?;
    let pairs: Vec<(&str, &str)> = wanted.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let path = format!("/containerLogs/{}/{name}/{container}", request.info.namespace);
    let path = location::with_query(path, &pairs);
    let failed = |error: String| super::plain_failure(format!("Get \"https://{address}{path}\": {error}"));
    let stream = api.kubelets.dial(address).await.map_err(|error| failed(error.to_string()))?;
    let exchange = Exchange::get(stream, &address.to_string(), &path).await.map_err(failed)?;
    if !exchange.answer.status().is_success() {
        return Err(refused(exchange, name).await);
    }
    Ok(Answer::Raw(Box::new(streamed(exchange, Some("text/plain"), &api.server.stopping))))
}

/// The kubelet's error as the API tells it.
async fn refused(exchange: Exchange, name: &str) -> Status {
    let code = exchange.answer.status().as_u16();
    let body = Limited::new(exchange.answer.into_body(), MOST_ERROR_BYTES).collect().await;
    let text = match body {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => return Status::internal(error),
    };
    match code {
        500 => Status::internal(text),
        400 => Status::bad_request(text),
        404 => Status {
            success: false,
            code,
            reason: Reason::NotFound,
            message: format!("the server could not find the requested resource ( pods/log {name})"),
            details: Some(Box::new(Details {
                name: name.into(),
                kind: "pods/log".into(),
                ..Details::default()
            })),
        },
        code => Status { success: false, code, reason: Reason::of_code(code), message: text, details: None },
    }
}

/// What goes on to the kubelet, checked.
fn options(query: &Query, name: &str) -> Result<Vec<(&'static str, String)>, Status> {
    let mut wanted = Vec::new();
    let mut wrong = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) {
            wanted.push((flag, "true".to_owned()));
        }
    }
    for (number, least) in NUMBERS {
        let Some(given) = query.get(number).filter(|given| !given.is_empty()) else { continue };
        let value: i64 = given.parse().map_err(|_| {
            let why = format!("unable to convert query parameter {number} to int64: {given:?}");
            Status::bad_request(why)
        })?;
        if value < least {
            let bound =
                if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            wrong.push(FieldError::invalid(number, value, bound));
        }
        wanted.push((number, value.to_string()));
    }
    if let Some(given) = query.get("sinceTime").filter(|given| !given.is_empty()) {
        given
            .parse::<jiff::Timestamp>()
            .map_err(|error| Status::bad_request(format!("sinceTime: {error}")))?;
        if query.get("sinceSeconds").is_some_and(|seconds| !seconds.is_empty()) {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            wrong.push(FieldError::forbidden("", why));
        }
        wanted.push(("sinceTime", given.to_owned()));
    }
    match query.get("stream").unwrap_or_default() {
        "" | "All" => {}
        stream @ ("Stdout" | "Stderr") => {
            if query.get("tailLines").is_some_and(|lines| !lines.is_empty()) {
                let why = "`tailLines` and specific `stream` are mutually exclusive for now";
                wrong.push(FieldError::forbidden("", why));
            }
            wanted.push(("stream", stream.to_owned()));
        }
        other => {
            wrong.push(FieldError::not_supported("stream", other, &["All", "Stderr", "Stdout"]));
        }
    }
    if wrong.is_empty() {
        return Ok(wanted);
    }
    Err(Status::invalid(Qualified { group: "", name: "PodLogOptions" }, name, &wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked_and_passed_on() {
        let check = |query: &str, expect: Result<&str, (u16, &str)>| {
            let found = options(&Query::parse(query), "web")
                .map(|pairs| {
                    let pairs: Vec<String> =
                        pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    pairs.join("&")
                })
                .map_err(|status| (status.code, status.message));
            let expect = expect.map(str::to_owned).map_err(|(code, why)| (code, why.to_owned()));
            assert_eq!(found, expect, "{query}");
        };
        check("container=a&follow=false", Ok(""));
        check(
            "follow=true&previous=1&timestamps=true&tailLines=0&limitBytes=5&sinceSeconds=1",
            Ok("follow=true&previous=true&timestamps=true&sinceSeconds=1&tailLines=0&limitBytes=5"),
        );
        check("sinceTime=2026-01-01T00:00:00Z", Ok("sinceTime=2026-01-01T00:00:00Z"));
        check("stream=Stderr", Ok("stream=Stderr"));
        check(
            "tailLines=-1",
            Err((
                422,
                "PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
            )),
        );
        check(
            "limitBytes=0&sinceSeconds=0",
            Err((
                422,
                "PodLogOptions \"web\" is invalid: [sinceSeconds: Invalid value: 0: must be greater than 0, limitBytes: Invalid value: 0: must be greater than 0]",
            )),
        );
    }
}
