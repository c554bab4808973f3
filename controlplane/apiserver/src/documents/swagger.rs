//! OpenAPI v2, as JSON and as the protobuf that kubectl and client-go ask for first.
//!
//! A document is made when somebody asks for it and kept until the kinds or the aggregated servers change: one per form, and
//! none above a size. It is made by one thread at a time, off those that answer requests, and kept also where whoever asked
//! for it has gone.

use std::sync::Arc;

use api::kind::Registry;
use api::openapi::{self, swagger};
use api::status::Status;
use aws_lc_rs::digest::{SHA512, digest};
use bytes::Bytes;
use http::Response;
use http::header::ACCEPT;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{VERSION, tagged};
use crate::aggregation::{Routes, merge_swagger};
use crate::answer::Body;
use crate::api_server::ApiServer;
use crate::request::Request;

/// The largest document that is kept; a thousand definitions make some 20 MiB of JSON.
const MOST_BYTES: usize = 64 << 20;
const JSON: &str = "application/json";
/// As it is asked for by clients of before 1.27, and by those since.
const PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// How the document is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    /// The first that the client takes.
    fn asked(request: &Request) -> Result<Form, Status> {
        let values = request.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Form::of(&values.collect::<Vec<_>>().join(","))
    }

    fn of(accepted: &str) -> Result<Form, Status> {
        let ranges = accepted.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        let found = ranges.filter_map(|range| match range {
            "" | "*/*" | "application/*" | JSON => Some(Form::Json),
            range => PROTOBUF.contains(&range).then_some(Form::Protobuf),
        });
        let refused = || Status::not_acceptable(&[JSON, PROTOBUF[1]]);
        found.into_iter().next().ok_or_else(refused)
    }

    /// `@` may not stand in a media type, so it is not answered with.
    fn content_type(self) -> &'static str {
        match self {
            Form::Json => JSON,
            Form::Protobuf => PROTOBUF[1],
        }
    }
}

/// What was made last of each form.
#[derive(Debug, Default)]
pub struct Swagger(Arc<Mutex<Vec<Made>>>);

#[derive(Clone, Debug)]
struct Made {
    form: Form,
    /// Of which kinds and which aggregated servers it is.
    generation: u64,
    routes: Arc<Routes>,
    bytes: Bytes,
    hash: String,
}

impl Swagger {
    async fn get(&self, api: &ApiServer, form: Form) -> Result<Made, Status> {
        let kept = self.0.clone().lock_owned().await;
        // The number before the kinds: what is made of later ones is made again once more, never missed.
        let generation = api.server.registry.generation();
        let (registry, routes) = (api.server.registry.current(), api.aggregation.routes());
        let is_of_now = |made: &Made| {
            made.form == form && made.generation == generation && Arc::ptr_eq(&made.routes, &routes)
        };
        if let Some(made) = kept.iter().find(|made| is_of_now(made)) {
            return Ok(made.clone());
        }
        renew(kept, move || make(form, generation, &registry, routes)).await
    }
}

/// Makes one form anew. The lock goes with the work, which a client that leaves does not end: nobody begins beside it.
async fn renew(
    mut kept: OwnedMutexGuard<Vec<Made>>,
    make: impl FnOnce() -> Made + Send + 'static,
) -> Result<Made, Status> {
    let making = tokio::task::spawn_blocking(move || {
        let made = make();
        kept.retain(|known| known.form != made.form);
        if made.bytes.len() <= MOST_BYTES {
            kept.push(made.clone());
        }
        made
    });
    making.await.map_err(Status::internal)
}

fn make(form: Form, generation: u64, registry: &Registry, routes: Arc<Routes>) -> Made {
    let mut document = openapi::v2(registry, VERSION.2);
    merge_swagger(&routes, &mut document);
    let bytes = match form {
        Form::Json => Bytes::from(document.to_string()),
        Form::Protobuf => Bytes::from(swagger::encode(&document)),
    };
    let hash = hex::encode_upper(digest(&SHA512, &bytes));
    Made { form, generation, routes, bytes, hash }
}

/// Answers a request for the document.
pub(super) async fn answer(api: &ApiServer, request: &Request) -> Result<Response<Body>, Status> {
    let form = Form::asked(request)?;
    let made = api.specifications.swagger.get(api, form).await?;
    Ok(tagged::tagged(request, form.content_type(), &made.hash, || made.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_client_that_left_has_begun_is_kept_and_nothing_begins_beside_it() {
        let kept: Arc<Mutex<Vec<Made>>> = Arc::default();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let make = move || {
            begun.send(()).unwrap();
            wait.recv().unwrap();
            let (bytes, hash) = (Bytes::from_static(b"{}"), String::new());
            Made { form: Form::Json, generation: 1, routes: Arc::default(), bytes, hash }
        };
        let client = tokio::spawn(renew(kept.clone().lock_owned().await, make));
        has_begun.await.unwrap();
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert!(kept.try_lock().is_err());
        go.send(()).unwrap();
        assert_eq!(kept.lock().await.len(), 1);
    }

    #[test]
    fn the_first_form_that_is_accepted_is_told() {
        let check = |accepted: &str, expect: Option<Form>| {
            assert_eq!(Form::of(accepted).ok(), expect, "{accepted}");
        };
        check("", Some(Form::Json));
        check("*/*", Some(Form::Json));
        check("application/com.github.proto-openapi.spec.v2@v1.0+protobuf", Some(Form::Protobuf));
        check(
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf;q=1, application/json",
            Some(Form::Protobuf),
        );
        check("text/plain, application/json", Some(Form::Json));
        check("application/com.github.proto-openapi.spec.v3@v1.0+protobuf", None);
    }
}
