//! `resourceFieldRef`: what a container asks for or may use, as a number of its divisor, rounded up.
//!
//! A container without a limit of CPU, memory or ephemeral storage is told its pod's, or what the node can give.

use api::quantity::Quantity;
use serde_json::Value;

use crate::facts::NodeFacts;
use crate::pod::{Container, Pod};

/// The value of a `resourceFieldRef` in `container`, or in the container that it names.
pub fn value(
    reference: &Value,
    pod: &Pod,
    container: Option<&Container>,
    node: &NodeFacts,
) -> Result<String, String> {
    let container = match reference["containerName"].as_str() {
        None | Some("") => container.ok_or_else(|| "containerName is required".to_owned())?,
        Some(name) => pod.container(name).ok_or_else(|| format!("container {name} not found"))?,
    };
    let resource = reference["resource"].as_str().unwrap_or_default();
    let unsupported = || format!("unsupported container resource : {resource}");
    let (list, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !known || !matches!(list, "limits" | "requests") {
        return Err(unsupported());
    }
    let amount = amount(pod, container, node, list, name);
    let divisor = read(&reference["divisor"]).filter(|divisor| !divisor.is_zero());
    let scale = |quantity: Quantity| if name == "cpu" { quantity.millis() } else { quantity.units() };
    let one = if name == "cpu" { 1000 } else { 1 };
    let divisor = divisor.map_or(one, scale).max(1);
    let quotient = amount / divisor + i64::from(amount % divisor > 0);
    Ok(quotient.to_string())
}

/// In thousandths for CPU, in units for the rest.
fn amount(pod: &Pod, container: &Container, node: &NodeFacts, list: &str, name: &str) -> i64 {
    let scale = |quantity: Quantity| if name == "cpu" { quantity.millis() } else { quantity.units() };
    let stated = |resources: &Value| read(&resources[list][name]).map(scale).filter(|amount| *amount > 0);
    let own = stated(&container.value["resources"]);
    if list == "requests" {
        return own.unwrap_or_default();
    }
    let allocatable = match name {
        "cpu" => node.allocatable.cpu_millis,
        "memory" => node.allocatable.memory,
        "ephemeral-storage" => node.allocatable.ephemeral_storage,
        _ => 0,
    };
    own.or_else(|| stated(&pod.spec()["resources"])).unwrap_or(allocatable)
}

fn read(value: &Value) -> Option<Quantity> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Quantity::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Amounts;

    #[test]
    fn amounts_are_divided_and_rounded_up() {
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {
            "resources": {"limits": {"memory": "64Mi"}},
            "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1500m", "memory": "100Mi", "hugepages-2Mi": "4Mi"},
                    "requests": {"cpu": "250m"}}},
                {"name": "b"}]}}));
        let node = NodeFacts {
            allocatable: Amounts { cpu_millis: 3900, ephemeral_storage: 1 << 30, ..Default::default() },
            ..Default::default()
        };
        let check = |container: &str, reference: Value, expect: Result<&str, &str>| {
            let found = value(&reference, &pod, pod.container(container), &node);
            assert_eq!(found.as_deref().map_err(String::as_str), expect, "{container} {reference}");
        };
        let of = |resource: &str| json!({"resource": resource});
        let by = |resource: &str, divisor: &str| json!({"resource": resource, "divisor": divisor});
        check("a", of("limits.cpu"), Ok("2"));
        check("a", by("limits.cpu", "0"), Ok("2"));
        check("a", by("limits.cpu", "1m"), Ok("1500"));
        check("a", by("requests.cpu", "1m"), Ok("250"));
        check("a", of("requests.cpu"), Ok("1"));
        check("a", of("requests.memory"), Ok("0"));
        check("a", of("limits.memory"), Ok("104857600"));
        check("a", by("limits.memory", "1Mi"), Ok("100"));
        check("a", by("limits.memory", "1Gi"), Ok("1"));
        check("a", by("limits.hugepages-2Mi", "1Mi"), Ok("4"));
        check("b", of("limits.cpu"), Ok("4"));
        check("b", by("limits.memory", "1Mi"), Ok("64"));
        check("b", by("limits.ephemeral-storage", "1Mi"), Ok("1024"));
        check("b", json!({"containerName": "a", "resource": "limits.cpu", "divisor": "1m"}), Ok("1500"));
        check("b", json!({"containerName": "x", "resource": "limits.cpu"}), Err("container x not found"));
        check("b", of("limits.gpu"), Err("unsupported container resource : limits.gpu"));
        check("b", of("cpu"), Err("unsupported container resource : cpu"));
    }
}
