//! `default/kubernetes`: the API as a Service, for clients within the cluster.

use api::status::Status;
use serde_json::{Value, json};

use super::{create, mend, row};
use crate::admission::addresses;
use crate::presence::Endpoints;
use crate::registry;
use crate::server::Server;

const NAME: &str = "kubernetes";
const PORT: u16 = 443;

/// Makes the ServiceCIDR of the server's own ranges, and the Service with the first cluster IP.
pub(super) async fn ensure(server: &Server, port: u16) -> Result<(), Status> {
    let ranges = server.allocator.texts();
    if !ranges.is_empty() {
        let range = json!({"metadata": {"name": addresses::DEFAULT_RANGE}, "spec": {"cidrs": ranges}});
        create(server, "networking.k8s.io", "servicecidrs", range).await?;
        let ready = json!([{"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": registry::meta::time(server.now())}]);
        mend(server, row(server, "networking.k8s.io", "servicecidrs")?, addresses::DEFAULT_RANGE, |found| {
            // Only of the ranges that this server gives from, and once.
            let ours = found["spec"]["cidrs"] == json!(ranges) && found["status"]["conditions"].is_null();
            ours.then(|| {
                let mut mended = found.clone();
                mended["status"]["conditions"] = ready.clone();
                mended
            })
        })
        .await?;
    }
    let ip = server.allocator.first();
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let ip = ip.to_string();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": [family], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": PORT, "protocol": "TCP", "targetPort": port}], "sessionAffinity": "None"
        }
    });
    create(server, "", "services", service).await
}

/// Makes the Service's endpoints these.
pub async fn point(server: &Server, to: &Endpoints) -> Result<(), Status> {
    let Some((endpoints, slice)) = objects(to) else { return Ok(()) };
    create(server, "", "endpoints", endpoints.clone()).await?;
    create(server, "discovery.k8s.io", "endpointslices", slice.clone()).await?;
    let key = format!("default/{NAME}");
    let replaced = |object: &Value, wanted: &Value, fields: &[&str]| {
        let mut mended = object.clone();
        for name in fields {
            mended[*name] = wanted[*name].clone();
        }
        (mended != *object).then_some(mended)
    };
    mend(server, row(server, "", "endpoints")?, &key, |found| replaced(found, &endpoints, &["subsets"]))
        .await?;
    mend(server, row(server, "discovery.k8s.io", "endpointslices")?, &key, |found| {
        replaced(found, &slice, &["endpoints", "ports"])
    })
    .await
}

/// Endpoints and EndpointSlice; none where there are no addresses.
fn objects(to: &Endpoints) -> Option<(Value, Value)> {
    let family = if to.addresses.first()?.is_ipv4() { "IPv4" } else { "IPv6" };
    let ports = json!([{"name": "https", "port": to.port, "protocol": "TCP"}]);
    let addresses: Vec<Value> =
        to.addresses.iter().map(|address| json!({"ip": address.to_string()})).collect();
    let endpoints = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses, "ports": ports}]
    });
    let ready = |address: &std::net::IpAddr| json!({"addresses": [address.to_string()], "conditions": {"ready": true}});
    let slice = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": to.addresses.iter().map(ready).collect::<Vec<_>>(),
        "ports": ports
    });
    Some((endpoints, slice))
}

#[cfg(test)]
mod tests {
    use api::kind::Registry;

    use super::*;

    #[test]
    fn its_endpoints_are_as_valid_as_what_people_write() {
        for addresses in [vec!["192.0.2.1", "192.0.2.2"], vec!["2001:db8::1"]] {
            let to = Endpoints {
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                port: 6443,
            };
            let (endpoints, slice) = objects(&to).unwrap();
            for (group, resource, object) in
                [("", "endpoints", endpoints), ("discovery.k8s.io", "endpointslices", slice)]
            {
                let kind = Registry::builtin().by_resource(group, "v1", resource).unwrap();
                let mut complete = object.clone();
                api::defaulting::apply(kind, &mut complete);
                assert_eq!(complete, object, "nothing is missing");
                complete["metadata"]["uid"] = "u".into();
                complete["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
                assert_eq!(api::validation::create(kind, &complete), [], "{complete}");
            }
        }
    }
}
