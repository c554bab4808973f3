//! Whether a backend can be asked, as far as its Service and EndpointSlices tell: the condition `Available`, in upstream's
//! words.

use api::status::Status;
use serde_json::{Value, json};

/// A condition's reason and message; `Ok` where a discovery check may decide.
pub type Finding = Result<(), Unavailable>;

/// Why a backend is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Judges by the Service and the slices that belong to it.
pub fn judge(api_service: &Value, service: Option<&Value>, slices: &[Value]) -> Finding {
    let wanted = &api_service["spec"]["service"];
    let (name, namespace) = (text(&wanted["name"]), text(&wanted["namespace"]));
    let port = wanted["port"].as_i64().unwrap_or(443);
    let no = |reason, message| Err(Unavailable { reason, message });
    let Some(service) = service else {
        return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    };
    if service["spec"]["type"] == "ExternalName" {
        return no(
            "ServiceNotFound",
            format!("service/{name} in {namespace:?} is an ExternalName: this server resolves no names"),
        );
    }
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(row) = ports.find(|row| row["port"].as_i64() == Some(port)) else {
        return no(
            "ServicePortError",
            format!("service/{name} in {namespace:?} is not listening on port {port}"),
        );
    };
    if slices.is_empty() {
        return no(
            "EndpointsNotFound",
            format!("cannot find endpointslices for service/{name} in {namespace:?}"),
        );
    }
    let of_row = |slice: &&Value| {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        ports.any(|port| text(&port["name"]) == text(&row["name"]))
    };
    let ready = |slice: &Value| {
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        endpoints
            .any(|endpoint| endpoint["conditions"]["ready"] != false && endpoint["addresses"][0].is_string())
    };
    if !slices.iter().filter(of_row).any(ready) {
        let port = text(&row["name"]);
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}"
        );
        return no("MissingEndpoints", message);
    }
    Ok(())
}

/// What the last check says: of the condition `Available`.
pub fn condition(finding: &Finding, now: &str) -> Value {
    let (status, reason, message) = match finding {
        Ok(()) => ("True", "Passed", "all checks passed"),
        Err(why) => ("False", why.reason, why.message.as_str()),
    };
    json!({"type": "Available", "status": status, "lastTransitionTime": now, "reason": reason, "message": message})
}

/// The object with a condition; nothing where it says so already.
pub fn with_condition(object: &Value, mut condition: Value) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|known| known["type"] == "Available");
    if let Some(found) = found {
        if ["status", "reason", "message"].iter().all(|name| found[*name] == condition[*name]) {
            return None;
        }
        if found["status"] == condition["status"] {
            condition["lastTransitionTime"] = found["lastTransitionTime"].clone();
        }
    }
    let mut changed: Vec<Value> =
        conditions.into_iter().filter(|known| known["type"] != "Available").collect();
    changed.push(condition);
    let mut object = object.clone();
    object["status"]["conditions"] = changed.into();
    Some(object)
}

/// The answer where a backend cannot be asked.
pub fn refused() -> Status {
    Status::service_unavailable("service unavailable")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(port: &str, address: &str, ready: bool) -> Value {
        json!({"ports": [{"name": port, "port": 8443}], "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]})
    }

    #[test]
    fn what_a_service_tells() {
        let wanted = json!({"spec": {"service": {"name": "api", "namespace": "ext", "port": 443}}});
        let service = json!({"spec": {"ports": [{"name": "https", "port": 443}]}});
        let other = json!({"spec": {"ports": [{"name": "https", "port": 8443}]}});
        for (service, slices, reason) in [
            (None, vec![], "ServiceNotFound"),
            (Some(&other), vec![slice("https", "10.0.0.1", true)], "ServicePortError"),
            (Some(&service), vec![], "EndpointsNotFound"),
            (Some(&service), vec![slice("http", "10.0.0.1", true)], "MissingEndpoints"),
            (Some(&service), vec![slice("https", "10.0.0.1", false)], "MissingEndpoints"),
            (Some(&service), vec![slice("https", "10.0.0.1", false), slice("https", "10.0.0.2", true)], ""),
        ] {
            let found = judge(&wanted, service, &slices).err().map_or("", |why| why.reason);
            assert_eq!(found, reason);
        }
        let why = judge(&wanted, None, &[]).unwrap_err();
        assert_eq!(why.message, "service/api in \"ext\" is not present");
    }

    #[test]
    fn a_condition_is_written_when_it_changes() {
        let passed = condition(&Ok(()), "2026-01-01T00:00:00Z");
        let object = with_condition(&json!({"status": {}}), passed).unwrap();
        assert_eq!(with_condition(&object, condition(&Ok(()), "2026-01-02T00:00:00Z")), None);
        let why = Unavailable { reason: "FailedDiscoveryCheck", message: "x".into() };
        let failed = with_condition(&object, condition(&Err(why), "2026-01-02T00:00:00Z")).unwrap();
        assert_eq!(failed["status"]["conditions"].as_array().map(Vec::len), Some(1));
        assert_eq!(failed["status"]["conditions"][0]["lastTransitionTime"], "2026-01-02T00:00:00Z");
    }
}
