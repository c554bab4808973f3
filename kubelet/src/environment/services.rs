//! Services as environment variables: `WEB_SERVICE_HOST`, and the names that Docker's links had.

use api::meta::Meta;
use serde_json::Value;

/// The one that every pod is told of, whatever it says.
const ALWAYS: (&str, &str) = ("default", "kubernetes");

/// Variables of the Services that a pod of `namespace` is told of, in the order given.
pub fn variables<'a>(
    services: impl IntoIterator<Item = &'a Value>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut own: Vec<&Value> = Vec::new();
    let mut always = None;
    for service in services.into_iter().filter(|service| address(service).is_some()) {
        let meta = Meta::of(service);
        if (meta.namespace(), meta.name()) == ALWAYS {
            always = Some(service);
        } else if links && meta.namespace() == namespace {
            own.push(service);
        }
    }
    // A namespace's own Service of that name hides the cluster's.
    let always = always.filter(|cluster| !own.iter().any(|service| name(service) == name(cluster)));
    own.extend(always);
    own.into_iter().flat_map(of_one).collect()
}

fn name(service: &Value) -> &str {
    Meta::of(service).name()
}

/// The cluster IP; headless Services and names for outside ones have none.
fn address(service: &Value) -> Option<&str> {
    service["spec"]["clusterIP"].as_str().filter(|address| !matches!(*address, "" | "None"))
}

fn of_one(service: &Value) -> Vec<(String, String)> {
    let host = address(service).unwrap_or_default();
    let prefix = variable(name(service));
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let mut out = vec![(format!("{prefix}_SERVICE_HOST"), host.to_owned())];
    let port_of = |port: &Value| port["port"].as_u64().unwrap_or_default().to_string();
    if let Some(first) = ports.first() {
        out.push((format!("{prefix}_SERVICE_PORT"), port_of(first)));
    }
    for port in &ports {
        if let Some(named) = port["name"].as_str().filter(|named| !named.is_empty()) {
            out.push((format!("{prefix}_SERVICE_PORT_{}", variable(named)), port_of(port)));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port["protocol"].as_str().filter(|text| !text.is_empty()).unwrap_or("TCP");
        let scheme = protocol.to_ascii_lowercase();
        let number = port_of(port);
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("{scheme}://{bracketed}:{number}");
        if index == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        let linked = format!("{prefix}_PORT_{number}_{}", protocol.to_ascii_uppercase());
        out.push((linked.clone(), url));
        out.push((format!("{linked}_PROTO"), scheme));
        out.push((format!("{linked}_PORT"), number));
        out.push((format!("{linked}_ADDR"), host.to_owned()));
    }
    out
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, address: &str, ports: Value) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"clusterIP": address, "ports": ports}})
    }

    fn check(services: &[Value], namespace: &str, links: bool, expect: &[&str]) {
        let found: Vec<String> = variables(services, namespace, links)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn services_become_variables() {
        let api = service(
            "default",
            "kubernetes",
            "10.96.0.1",
            json!([{"name": "https", "port": 443, "protocol": "TCP"}]),
        );
        let dns = service("a", "my-dns", "fd00::a", json!([{"port": 53, "protocol": "UDP"}]));
        let headless = service("a", "none", "None", json!([{"port": 1}]));
        let foreign = service("b", "other", "10.96.0.9", json!([{"port": 1}]));
        let all = [api.clone(), dns, headless, foreign];
        let kubernetes = [
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            "KUBERNETES_SERVICE_PORT=443",
            "KUBERNETES_SERVICE_PORT_HTTPS=443",
            "KUBERNETES_PORT=tcp://10.96.0.1:443",
            "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
            "KUBERNETES_PORT_443_TCP_PROTO=tcp",
            "KUBERNETES_PORT_443_TCP_PORT=443",
            "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
        ];
        let mut linked = vec![
            "MY_DNS_SERVICE_HOST=fd00::a",
            "MY_DNS_SERVICE_PORT=53",
            "MY_DNS_PORT=udp://[fd00::a]:53",
            "MY_DNS_PORT_53_UDP=udp://[fd00::a]:53",
            "MY_DNS_PORT_53_UDP_PROTO=udp",
            "MY_DNS_PORT_53_UDP_PORT=53",
            "MY_DNS_PORT_53_UDP_ADDR=fd00::a",
        ];
        linked.extend(kubernetes);
        check(&all, "a", true, &linked);
        check(&all, "a", false, &kubernetes);
        check(&all[1..], "a", false, &[]);
        let own = service("a", "kubernetes", "10.0.0.7", json!([{"port": 1}]));
        let found = variables([&api, &own], "a", true);
        assert_eq!(found[0], ("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.7".to_owned()));
        assert!(found.iter().all(|(_, value)| !value.contains("10.96.0.1")));
    }
}
