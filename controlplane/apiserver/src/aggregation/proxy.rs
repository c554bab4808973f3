//! A request goes on to its backend: as it came, but for who asks.

use api::status::Status;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue};

use super::Backend;
use super::availability::refused;
use super::backend::identify;
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::connect::{Exchange, Wire, end_to_end, is_upgrade, pass_on, streamed};
use crate::request::Request;

/// Answers with what the backend says.
pub async fn proxy(
    api: &ApiServer,
    request: &Request,
    backend: &Backend,
    wire: Wire,
) -> Result<Answer, Status> {
    if !backend.available {
        return Err(refused());
    }
    let failed = |error: String| {
        api.aggregation.suspect(backend);
        Status::service_unavailable(format!("error trying to reach service: {error}"))
    };
    let stream = backend.dial(&api.server).await.map_err(failed)?;
    let mut headers = request.headers.clone();
    identify(&mut headers, &request.user);
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    let impersonation: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    impersonation.into_iter().for_each(|name| drop(headers.remove(name)));
    let path = wire.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if is_upgrade(request) {
        return pass_on(api, headers, wire, &format!("https://{}{path}", backend.host()), stream).await;
    }
    let mut onward = http::Request::new(wire.body);
    *onward.method_mut() = wire.method;
    *onward.uri_mut() = path.parse().map_err(Status::internal)?;
    end_to_end(&mut headers);
    headers.insert(HOST, HeaderValue::from_str(&backend.host()).map_err(Status::internal)?);
    *onward.headers_mut() = headers;
    let exchange = Exchange::send(stream, onward).await.map_err(failed)?;
    Ok(Answer::Raw(Box::new(streamed(exchange, None, &api.server.stopping))))
}
