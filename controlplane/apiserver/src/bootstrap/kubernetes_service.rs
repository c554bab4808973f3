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
    let Some(first) = to.addresses.first() else { return Ok(()) };
    let port = to.port;
    let addresses: Vec<Value> =
        to.addresses.iter().map(|address| json!({"ip": address.to_string()})).collect();
    let subsets =
        json!([{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    let endpoints = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": subsets
    });
    create(server, "", "endpoints", endpoints).await?;
    let family = if first.is_ipv4() { "IPv4" } else { "IPv6" };
    let ready = |address: &std::net::IpAddr| json!({"addresses": [address.to_string()], "conditions": {"ready": true}});
    let slice = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": to.addresses.iter().map(ready).collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}]
    });
    create(server, "discovery.k8s.io", "endpointslices", slice.clone()).await?;
    let key = format!("default/{NAME}");
    let replaced = |object: &Value, fields: &[(&str, Value)]| {
        let mut mended = object.clone();
        for (name, value) in fields {
            mended[*name] = value.clone();
        }
        (mended != *object).then_some(mended)
    };
    mend(server, row(server, "", "endpoints")?, &key, |found| {
        replaced(found, &[("subsets", subsets.clone())])
    })
    .await?;
    let parts = [("endpoints", slice["endpoints"].clone()), ("ports", slice["ports"].clone())];
    mend(server, row(server, "discovery.k8s.io", "endpointslices")?, &key, |found| replaced(found, &parts))
        .await
}
