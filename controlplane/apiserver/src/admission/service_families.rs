//! Which IP families a Service has. Pure.
//!
//! What is asked for by policy, families or addresses is brought together before addresses are given: the families' order
//! is the addresses' order.
//!
//! Reference: Kubernetes "IPv4/IPv6 dual-stack", KEP-563; by the behaviour of upstream's service registry.

use api::field::FieldError;
use serde_json::{Value, json};

/// Settles `ipFamilyPolicy`, `ipFamilies` and the addresses that are given already. `available`: the cluster's, its own
/// first.
pub(super) fn settle(
    spec: &mut Value,
    old: Option<&Value>,
    available: &[&'static str],
) -> Result<(), Box<FieldError>> {
    inherit(spec, old);
    let headless = spec["clusterIPs"][0] == "None";
    let selects = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    let mut families: Vec<String> = texts(&spec["ipFamilies"]);
    let addresses: Vec<String> = texts(&spec["clusterIPs"]);
    for address in addresses.iter().skip(families.len()).filter(|address| *address != "None") {
        families.push(if address.contains(':') { "IPv6" } else { "IPv4" }.to_owned());
    }
    let asked = spec["ipFamilyPolicy"].as_str().map(str::to_owned);
    let anywhere = headless && !selects;
    let policy = match &asked {
        Some(policy) => policy.as_str(),
        None if anywhere || families.len() > 1 => "RequireDualStack",
        None => "SingleStack",
    };
    let own = available.first().copied().unwrap_or("IPv4");
    if families.is_empty() {
        families.push(own.to_owned());
    }
    if !anywhere {
        refuse(&families, policy, available)?;
    }
    let wants_both = policy != "SingleStack" && (anywhere || available.len() > 1);
    match (families.len(), policy) {
        (1, _) if wants_both => {
            families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
        }
        (2.., "SingleStack") if asked.is_some() && old.is_some_and(was_dual) => {
            families.truncate(1);
            if let Some(addresses) = spec["clusterIPs"].as_array_mut() {
                addresses.truncate(1);
            }
        }
        _ => {}
    }
    spec["ipFamilyPolicy"] = policy.into();
    spec["ipFamilies"] = json!(families);
    Ok(())
}

/// What an update does not say stays.
fn inherit(spec: &mut Value, old: Option<&Value>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = spec["clusterIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    match (text(&spec["clusterIP"]), given) {
        (address, false) if !address.is_empty() => spec["clusterIPs"] = json!([address]),
        (address, true) if address.is_empty() => spec["clusterIP"] = spec["clusterIPs"][0].clone(),
        _ => {}
    }
    let Some(old) = old.map(|old| &old["spec"]).filter(|old| old["type"] != "ExternalName") else { return };
    for field in ["ipFamilyPolicy", "ipFamilies"] {
        if is_unset(&spec[field]) && !is_unset(&old[field]) {
            spec[field] = old[field].clone();
        }
    }
    if is_unset(&spec["clusterIPs"]) && !is_unset(&old["clusterIPs"]) {
        spec["clusterIPs"] = old["clusterIPs"].clone();
        spec["clusterIP"] = old["clusterIP"].clone();
    } else if spec["clusterIP"] == old["clusterIP"] && texts(&spec["clusterIPs"]).len() == 1 {
        // Somebody who knows one address only keeps the other, unless the policy gives it up.
        let keeps = spec["ipFamilyPolicy"] != "SingleStack";
        if keeps && texts(&old["clusterIPs"]).len() > 1 && texts(&spec["ipFamilies"]).len() > 1 {
            spec["clusterIPs"] = old["clusterIPs"].clone();
        }
    }
}

fn refuse(families: &[String], policy: &str, available: &[&'static str]) -> Result<(), Box<FieldError>> {
    if policy == "RequireDualStack" && available.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        return Err(Box::new(FieldError::invalid("spec.ipFamilyPolicy", policy, why)));
    }
    match families.iter().position(|family| !available.contains(&family.as_str())) {
        Some(at) if families[at] == "IPv4" || families[at] == "IPv6" => {
            let path = format!("spec.ipFamilies[{at}]");
            Err(Box::new(FieldError::invalid(path, families[at].as_str(), "not configured on this cluster")))
        }
        _ => Ok(()),
    }
}

fn was_dual(old: &Value) -> bool {
    texts(&old["spec"]["ipFamilies"]).len() > 1
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[&str] = &["IPv4"];
    const BOTH: &[&str] = &["IPv4", "IPv6"];

    /// `policy families addresses`, or what is said.
    fn check(mut spec: Value, old: Option<Value>, available: &[&'static str], expect: &str) {
        let old = old.map(|spec| json!({"spec": spec}));
        let shown = spec.to_string();
        let got = match settle(&mut spec, old.as_ref(), available) {
            Ok(()) => format!(
                "{} {} {}",
                spec["ipFamilyPolicy"].as_str().unwrap_or_default(),
                texts(&spec["ipFamilies"]).join(","),
                texts(&spec["clusterIPs"]).join(",")
            ),
            Err(error) => error.to_string(),
        };
        assert_eq!(got.trim_end(), expect, "{shown} {old:?}");
    }

    #[test]
    fn new_services() {
        let with = |more: Value| {
            let mut spec = json!({"selector": {"a": "b"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        check(with(json!({})), None, ONE, "SingleStack IPv4");
        check(with(json!({})), None, BOTH, "SingleStack IPv4");
        check(with(json!({"ipFamilyPolicy": "PreferDualStack"})), None, ONE, "PreferDualStack IPv4");
        check(with(json!({"ipFamilyPolicy": "PreferDualStack"})), None, BOTH, "PreferDualStack IPv4,IPv6");
        check(
            with(json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]})),
            None,
            BOTH,
            "RequireDualStack IPv6,IPv4",
        );
        check(with(json!({"ipFamilies": ["IPv6"]})), None, BOTH, "SingleStack IPv6");
        check(with(json!({"ipFamilies": ["IPv6", "IPv4"]})), None, BOTH, "RequireDualStack IPv6,IPv4");
        check(with(json!({"clusterIP": "fd00::5"})), None, BOTH, "SingleStack IPv6 fd00::5");
        check(
            with(json!({"clusterIPs": ["10.96.0.5", "fd00::5"]})),
            None,
            BOTH,
            "RequireDualStack IPv4,IPv6 10.96.0.5,fd00::5",
        );
        check(with(json!({"clusterIP": "None"})), None, BOTH, "SingleStack IPv4 None");
        check(json!({"clusterIP": "None"}), None, ONE, "RequireDualStack IPv4,IPv6 None");
        check(
            with(json!({"ipFamilyPolicy": "RequireDualStack"})),
            None,
            ONE,
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        );
        check(
            with(json!({"ipFamilies": ["IPv6"]})),
            None,
            ONE,
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        );
    }

    #[test]
    fn services_that_change() {
        let single = || {
            json!({"selector": {"a": "b"}, "type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
        };
        let dual = || {
            json!({"selector": {"a": "b"}, "type": "ClusterIP", "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"})
        };
        let with = |mut spec: Value, field: &str, value: Value| {
            spec[field] = value;
            spec
        };
        check(json!({"selector": {"a": "b"}}), Some(single()), BOTH, "SingleStack IPv4 10.96.0.5");
        check(
            json!({"selector": {"a": "b"}}),
            Some(dual()),
            BOTH,
            "PreferDualStack IPv4,IPv6 10.96.0.5,fd00::5",
        );
        let more = with(single(), "ipFamilyPolicy", json!("PreferDualStack"));
        check(more, Some(single()), BOTH, "PreferDualStack IPv4,IPv6 10.96.0.5");
        let less = with(dual(), "ipFamilyPolicy", json!("SingleStack"));
        check(less, Some(dual()), BOTH, "SingleStack IPv4 10.96.0.5");
    }
}
