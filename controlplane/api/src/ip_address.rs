//! What an IPAddress says: that a cluster address is a Service's.
//!
//! The server writes one before the Service that gets the address; a controller makes what was lost and takes away what
//! leaked; a range is kept while one needs it. All of them read and make it by what stands here. Not whether an address is
//! free, nor whose turn it is.
//!
//! Invariant: an IPAddress is named by the canonical text of its address, whatever the Service calls it.
//!
//! Reference: KEP-1880; upstream's pkg/registry/core/service/ipallocator.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// How long the write of a Service may follow the one of its address.
pub const UNBORN: SignedDuration = SignedDuration::from_secs(60);

/// The IPAddress of an address of the Service `namespace/name`.
pub fn of_service(address: &str, namespace: &str, name: &str) -> Value {
    json!({"kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": address, "labels": {FAMILY: family(address), MANAGED_BY: MANAGER}},
        "spec": {"parentRef": {"group": "", "resource": "services", "namespace": namespace, "name": name}}})
}

/// Whether it was made for a Service, and is not an administrator's own.
pub fn is_managed(object: &Value) -> bool {
    object["metadata"]["labels"][MANAGED_BY] == MANAGER
}

/// Namespace and name of the Service that it belongs to.
pub fn parent(object: &Value) -> Option<(&str, &str)> {
    let parent = &object["spec"]["parentRef"];
    let text = |name: &str| parent[name].as_str().unwrap_or_default();
    (text("resource") == "services" && text("group").is_empty()).then(|| (text("namespace"), text("name")))
}

/// How long its Service may still come.
pub fn may_be_born_within(object: &Value, now: Timestamp) -> Option<SignedDuration> {
    let created: Timestamp = object["metadata"]["creationTimestamp"].as_str()?.parse().ok()?;
    Some(UNBORN - now.duration_since(created)).filter(|left| left.is_positive())
}

/// The addresses that a Service has, each by its canonical text.
pub fn addresses_of(service: &Value) -> impl Iterator<Item = String> + '_ {
    let all = service["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.filter(|address| *address != "None").map(canonical)
}

/// The one text of an address. What is no address stays as it is.
pub fn canonical(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), |address: IpAddr| address.to_string())
}

/// `IPv4` or `IPv6`.
pub fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_again() {
        let made = of_service("fd00::1", "n", "s");
        assert_eq!(made["metadata"]["labels"][FAMILY], "IPv6");
        assert!(is_managed(&made));
        assert_eq!(parent(&made), Some(("n", "s")));
        let mut others = made;
        others["metadata"]["labels"] = json!({});
        others["spec"]["parentRef"]["resource"] = "gateways".into();
        assert!(!is_managed(&others));
        assert_eq!(parent(&others), None);
    }

    #[test]
    fn a_service_names_its_addresses_in_any_way() {
        let service = json!({"spec": {"clusterIPs": ["10.0.0.1", "FD00:0::1", "None", "what"]}});
        assert_eq!(addresses_of(&service).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1", "what"]);
        assert_eq!(addresses_of(&json!({"spec": {"clusterIPs": "10.0.0.1"}})).count(), 0);
    }

    #[test]
    fn a_service_may_come_for_a_minute() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let left = |created: Value| {
            may_be_born_within(&json!({"metadata": {"creationTimestamp": created}}), now)
                .map(|left| left.as_secs())
        };
        assert_eq!(left("2026-01-01T00:01:50Z".into()), Some(50));
        assert_eq!(left("2026-01-01T00:01:00Z".into()), None);
        assert_eq!(left("2026-01-01T00:03:00Z".into()), Some(120));
        assert_eq!(left("yesterday".into()), None);
        assert_eq!(left(Value::Null), None);
    }
}
