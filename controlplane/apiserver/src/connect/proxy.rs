//! `nodes/proxy`, `pods/proxy` and `services/proxy`: any request goes on to a kubelet, to a pod's port, or to one that is
//! ready behind a Service's.
//!
//! The name may be `name`, `name:port` or `scheme:name:port`. Pods are reached by the first of their addresses, over plain
//! HTTP where no scheme is told; over TLS whoever answers is believed, as upstream does: nobody says who it should be, and
//! nothing of the client's credentials goes on.

use std::net::{IpAddr, SocketAddr};

use api::kind::Kind;
use api::status::Status;
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::{Exchange, end_to_end, streamed};
use super::upgrade::{is_upgrade, may_create, pass_on};
use super::{Wire, node_of, object, plain_failure};
use crate::answer::Answer;
use crate::api_server::ApiServer;
use crate::node_access::{dial_plain, dial_unverified};
use crate::request::Request;
use crate::webhook::service_endpoint;

/// Headers by which we would be taken for somebody else.
const FOREIGN: [&str; 4] = ["impersonate-user", "impersonate-group", "impersonate-uid", "x-remote-user"];

/// Answers any verb on `nodes/NAME/proxy`.
pub(super) async fn node(api: &ApiServer, request: &Request, wire: Wire) -> Result<Answer, Status> {
    let target = Target::parse(&request.info.name)?;
    if is_upgrade(request) {
        // The kubelet asks about us, not about the client: whoever may only look must not run commands there.
        may_create(api, request)?;
    }
    let kubelet = node_of(api, &target.name)?;
    let path = rest(&wire, 4);
    let refused = |error| plain_failure(format!("error trying to reach service: {error}"));
    match target.port.as_deref() {
        None => {
            let stream = api.kubelets.dial(kubelet).await.map_err(refused)?;
            send(api, request, wire, ("https", kubelet), &path, stream).await
        }
        Some(port) if port == kubelet.port().to_string() => {
            let stream = api.kubelets.dial(kubelet).await.map_err(refused)?;
            send(api, request, wire, ("https", kubelet), &path, stream).await
        }
        Some(port) => {
            let address = SocketAddr::new(kubelet.ip(), number(port)?);
            reach(api, request, wire, (target.scheme.as_str(), address), &path).await
        }
    }
}

/// Answers any verb on `pods/NAME/proxy`.
pub(super) async fn pod(
    api: &ApiServer,
    request: &Request,
    kind: &'static Kind,
    wire: Wire,
) -> Result<Answer, Status> {
    let target = Target::parse(&request.info.name)?;
    let pod = object(api, kind, &request.info.namespace, &target.name)?;
    let address = SocketAddr::new(address(&pod)?, port(&pod, target.port.as_deref())?);
    let path = rest(&wire, 6);
    reach(api, request, wire, (target.scheme.as_str(), address), &path).await
}

/// Hands the request on to a port, with TLS where the scheme says so.
async fn reach(
    api: &ApiServer,
    request: &Request,
    wire: Wire,
    (scheme, address): (&str, SocketAddr),
    path: &str,
) -> Result<Answer, Status> {
    let failed = |error| Status::service_unavailable(format!("error trying to reach service: {error}"));
    if scheme == "https" {
        let stream = dial_unverified(address).await.map_err(failed)?;
        return send(api, request, wire, (scheme, address), path, stream).await;
    }
    let stream = dial_plain(address).await.map_err(failed)?;
    send(api, request, wire, ("http", address), path, stream).await
}

/// Answers any verb on `services/NAME/proxy`.
pub(super) async fn service(
    api: &ApiServer,
    request: &Request,
    kind: &'static Kind,
    wire: Wire,
) -> Result<Answer, Status> {
    let target = Target::parse(&request.info.name)?;
    let service = object(api, kind, &request.info.namespace, &target.name)?;
    let port = target.port.unwrap_or_default();
    let address = service_endpoint(&api.server, &service, &port).map_err(Status::service_unavailable)?;
    allowed(address.ip())?;
    let path = rest(&wire, 6);
    reach(api, request, wire, (target.scheme.as_str(), address), &path).await
}

async fn send<T>(
    api: &ApiServer,
    request: &Request,
    wire: Wire,
    (scheme, address): (&str, SocketAddr),
    path: &str,
    stream: T,
) -> Result<Answer, Status>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if is_upgrade(request) {
        return pass_on(api, request.headers.clone(), wire, &format!("{scheme}://{address}{path}"), stream)
            .await;
    }
    let mut onward = http::Request::new(wire.body);
    *onward.method_mut() = wire.method;
    *onward.uri_mut() = path.parse().map_err(Status::internal)?;
    let headers = onward.headers_mut();
    *headers = request.headers.clone();
    end_to_end(headers);
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    FOREIGN.iter().for_each(|name| drop(headers.remove(*name)));
    headers.insert(HOST, HeaderValue::from_str(&address.to_string()).map_err(Status::internal)?);
    let exchange = Exchange::send(stream, onward)
        .await
        .map_err(|error| plain_failure(format!("error trying to reach service: {error}")))?;
    Ok(Answer::Raw(Box::new(streamed(exchange, None, &api.server.stopping))))
}

/// `name`, `name:port`, `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    scheme: String,
    name: String,
    port: Option<String>,
}

impl Target {
    fn parse(text: &str) -> Result<Target, Status> {
        let wanted = |port: &str| (!port.is_empty()).then(|| port.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [name] => Ok(Target { scheme: String::new(), name: (*name).into(), port: None }),
            [name, port] => Ok(Target { scheme: String::new(), name: (*name).into(), port: wanted(port) }),
            [scheme @ ("" | "http" | "https"), name, port] => {
                Ok(Target { scheme: (*scheme).into(), name: (*name).into(), port: wanted(port) })
            }
            _ => Err(Status::bad_request(format!("invalid pod request {text:?}"))),
        }
    }
}

/// What of the path follows `proxy`, the part with this index, with the query; still escaped.
fn rest(wire: &Wire, proxy: usize) -> String {
    let path = wire.uri.path();
    let mut parts = path.splitn(proxy + 3, '/');
    let rest = parts.nth(proxy + 2).unwrap_or_default();
    match wire.uri.query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    }
}

/// The pod's address, which must not be one of this machine.
fn address(pod: &Value) -> Result<IpAddr, Status> {
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| Status::bad_request("address not allowed"))?;
    allowed(address)
}

/// Not one of this machine's own.
fn allowed(address: IpAddr) -> Result<IpAddr, Status> {
    // An IPv4 address in IPv6's clothes leads where the IPv4 address leads.
    let address = address.to_canonical();
    let own = match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
    };
    if own || address.is_multicast() {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(address)
}

/// The named or numbered port; without one the first that a container has.
fn port(pod: &Value, wanted: Option<&str>) -> Result<u16, Status> {
    let containers = pod["spec"]["containers"].as_array();
    let mut ports = containers
        .into_iter()
        .flatten()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let found = match wanted {
        None => ports.next(),
        Some(wanted) => match wanted.parse() {
            Ok(number) => return Ok(number),
            Err(_) => ports.find(|port| port["name"] == wanted),
        },
    };
    let number = found.and_then(|port| port["containerPort"].as_u64()).and_then(|port| port.try_into().ok());
    match (number, wanted) {
        (Some(number), _) => Ok(number),
        (None, None) => Ok(80),
        (None, Some(wanted)) => Err(Status::service_unavailable(format!("no port {wanted:?} in the pod"))),
    }
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_ports_and_addresses() {
        let target = |scheme: &str, name: &str, port: Option<&str>| Target {
            scheme: scheme.into(),
            name: name.into(),
            port: port.map(str::to_owned),
        };
        assert_eq!(Target::parse("web").unwrap(), target("", "web", None));
        assert_eq!(Target::parse("web:http").unwrap(), target("", "web", Some("http")));
        assert_eq!(Target::parse("https:web:").unwrap(), target("https", "web", None));
        assert!(Target::parse("ftp:web:1").is_err());
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080, "name": "http"}]}]}});
        for (wanted, expect) in [(None, 8080), (Some("http"), 8080), (Some("9"), 9)] {
            assert_eq!(port(&pod, wanted).unwrap(), expect);
        }
        assert_eq!(port(&json!({}), None).unwrap(), 80);
        assert_eq!(port(&pod, Some("x")).unwrap_err().code, 503);
        for own in ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "", "x", "0.0.0.0"]
        {
            assert!(address(&json!({"status": {"podIP": own}})).is_err(), "{own}");
        }
        assert!(address(&json!({"status": {"podIP": "10.244.0.7"}})).is_ok());
    }
}
