//! `default/kubernetes`: the API as a Service, for clients within the cluster.

use std::net::IpAddr;

use api::status::Status;
use serde_json::{Value, json};

use super::{create, mend, row};
use crate::server::Server;

const NAME: &str = "kubernetes";
const PORT: u16 = 443;

/// Makes the Service with the first cluster IP, and its endpoints.
pub(super) async fn ensure(server: &Server, (address, port): (IpAddr, u16)) -> Result<(), Status> {
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
    create(server, "", "services", service).await?;
    // Endpoints may not be loopback addresses; a server that listens only there has none.
    if address.is_loopback() || address.is_unspecified() {
        return Ok(());
    }
    let subsets = json!([{"addresses": [{"ip": address.to_string()}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    let endpoints = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": subsets
    });
    create(server, "", "endpoints", endpoints).await?;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = json!({
        "metadata": {"name": NAME, "namespace": "default", "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": family,
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
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
