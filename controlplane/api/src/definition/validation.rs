//! What is wrong with a definition.

use serde_json::Value;

use super::{names::is_established, schema};
use crate::custom::JsonPath;
use crate::field::{FieldError, Path};
use crate::names::{dns_1035_label, dns_subdomain};

const APPROVAL: &str = "api-approved.kubernetes.io";

/// At its creation, beyond what metadata must be.
pub fn create(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let name = text(&definition["metadata"], "name");
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, why));
    }
    whole(spec, &mut errors);
    approval(definition, &mut errors);
    errors
}

/// At a change, beyond what metadata must be.
pub fn update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, before) = (&new["spec"], &old["spec"]);
    whole(spec, &mut errors);
    let mut fixed = vec![("group", &spec["group"], &before["group"])];
    fixed.push(("names.plural", &spec["names"]["plural"], &before["names"]["plural"]));
    if is_established(old) {
        fixed.push(("scope", &spec["scope"], &before["scope"]));
        fixed.push(("names.kind", &spec["names"]["kind"], &before["names"]["kind"]));
    }
    for (name, now, then) in fixed {
        if now != then {
            let path = Path::new("spec").child(name);
            errors.push(FieldError::invalid(path, now.clone(), "field is immutable"));
        }
    }
    let named = |version: &Value| {
        spec["versions"].as_array().is_some_and(|all| all.iter().any(|v| v["name"] == *version))
    };
    for (index, version) in list(&new["status"], "storedVersions").iter().enumerate() {
        if !named(version) {
            let path = Path::new("status").child("storedVersions").index(index);
            let why = "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions";
            let why = why.replace("v1", version.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(path, version.clone(), why));
        }
    }
    errors
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn whole(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec");
    match text(spec, "group") {
        "" => errors.push(FieldError::required(path.child("group"), "")),
        group => {
            let complaints = dns_subdomain(group);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(path.child("group"), group, complaints.join(",")));
            } else if !group.contains('.') {
                let why = "should be a domain with at least one dot";
                errors.push(FieldError::invalid(path.child("group"), group, why));
            }
        }
    }
    match text(spec, "scope") {
        "" => errors.push(FieldError::required(path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        other => {
            errors.push(FieldError::not_supported(path.child("scope"), other, &["Cluster", "Namespaced"]))
        }
    }
    if spec["preserveUnknownFields"] == true {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(path.child("preserveUnknownFields"), true, why));
    }
    versions(spec, &path, errors);
    names(&spec["names"], &path.child("names"), errors);
    conversion(&spec["conversion"], &path.child("conversion"), errors);
}

fn versions(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(spec, "versions");
    let at = path.child("versions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, version) in all.iter().enumerate() {
        let (name, place) = (text(version, "name"), at.index(index));
        let complaints = dns_1035_label(name);
        if !complaints.is_empty() {
            errors.push(FieldError::invalid(place.child("name"), name, complaints.join(",")));
        }
        seen.push(name);
        match &version["schema"]["openAPIV3Schema"] {
            Value::Null => {
                let path = place.child("schema").child("openAPIV3Schema");
                errors.push(FieldError::required(path, "schemas are required"));
            }
            document => schema::check(document, &place.child("schema").child("openAPIV3Schema"), errors),
        }
        columns(version, &place, errors);
        scale(&version["subresources"]["scale"], &place.child("subresources"), errors);
        selectable(version, &place, errors);
        deprecation(version, &place, errors);
    }
    let distinct: std::collections::BTreeSet<&&str> = seen.iter().collect();
    if distinct.len() != seen.len() {
        errors.push(FieldError::invalid(&at, spec["versions"].clone(), "must contain unique version names"));
    }
    if all.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&at, spec["versions"].clone(), why));
    }
}

fn deprecation(version: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let at = place.child("deprecationWarning");
    if version["deprecated"] != true {
        errors.push(FieldError::invalid(&at, warning, "can only be set for deprecated versions"));
    }
    if warning.is_empty() {
        errors.push(FieldError::invalid(&at, warning, "must not be an empty string"));
    }
    if warning.chars().count() > 256 {
        errors.push(FieldError::too_long(&at, 256));
    }
}

fn names(names: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(names, name).is_empty() {
            errors.push(FieldError::required(path.child(name), ""));
        }
    }
    let mut label = |at: Path, value: &str, mixed: bool| {
        let complaints = dns_1035_label(&if mixed { value.to_lowercase() } else { value.to_owned() });
        if !value.is_empty() && !complaints.is_empty() {
            let head = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(at, value, format!("{head}{}", complaints.join(","))));
        }
    };
    for name in ["plural", "singular"] {
        label(path.child(name), text(names, name), false);
    }
    for name in ["kind", "listKind"] {
        label(path.child(name), text(names, name), true);
    }
    for name in ["shortNames", "categories"] {
        for (index, value) in list(names, name).iter().enumerate() {
            label(path.child(name).index(index), value.as_str().unwrap_or_default(), false);
        }
    }
    let kind = text(names, "kind");
    if !kind.is_empty() && kind == text(names, "listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(path.child("listKind"), kind, why));
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let webhook = &conversion["webhook"];
    match text(conversion, "strategy") {
        "" => errors.push(FieldError::required(path.child("strategy"), "")),
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            if !webhook["clientConfig"].is_null() {
                errors.push(FieldError::forbidden(path.child("webhookClientConfig"), why));
            }
            if !list(webhook, "conversionReviewVersions").is_empty() {
                errors.push(FieldError::forbidden(path.child("conversionReviewVersions"), why));
            }
        }
        "Webhook" => {
            if webhook["clientConfig"].is_null() {
                let why = "required when strategy is set to Webhook";
                errors.push(FieldError::required(path.child("webhookClientConfig"), why));
            } else {
                client_config(&webhook["clientConfig"], &path.child("webhookClientConfig"), errors);
            }
            review_versions(
                list(webhook, "conversionReviewVersions"),
                &path.child("conversionReviewVersions"),
                errors,
            );
        }
        other => {
            errors.push(FieldError::not_supported(path.child("strategy"), other, &["None", "Webhook"]));
        }
    }
}

fn review_versions(versions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if versions.is_empty() {
        errors.push(FieldError::required(path, "the list must not be empty"));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if versions[..index].contains(version) {
            errors.push(FieldError::invalid(path.index(index), name, "duplicate version"));
            continue;
        }
        for complaint in dns_1035_label(name) {
            errors.push(FieldError::invalid(path.index(index), name, complaint));
        }
    }
    if !versions.iter().any(|version| matches!(version.as_str(), Some("v1" | "v1beta1"))) {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, Value::from(versions), why));
    }
}

/// How a webhook is reached: by URL or by Service.
pub(crate) fn client_config(config: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (url, service) = (config["url"].as_str(), &config["service"]);
    if url.is_some() == service.is_object() {
        errors.push(FieldError::required(path, "exactly one of url or service is required"));
    }
    if let Some(url) = url {
        let at = path.child("url");
        let rest = url.strip_prefix("https://");
        match rest {
            None => {
                let why = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.push(FieldError::invalid(at, url, why));
            }
            Some(rest) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let mut refuse = |why: &str| {
                    let why = format!("{why}; desired format: https://host[/path]");
                    errors.push(FieldError::invalid(path.child("url"), url, why));
                };
                if host.is_empty() {
                    refuse("host must be specified");
                }
                if host.contains('@') {
                    refuse("user information is not permitted in the URL");
                }
                if rest.contains('#') {
                    refuse("fragments are not permitted in the URL");
                }
                if rest.contains('?') {
                    refuse("query parameters are not permitted in the URL");
                }
            }
        }
    }
    if service.is_object() {
        let at = path.child("service");
        for name in ["name", "namespace"] {
            if text(service, name).is_empty() {
                errors.push(FieldError::required(at.child(name), format!("service {name} is required")));
            }
        }
        let port = service["port"].as_i64().unwrap_or(443);
        if !(1..=65535).contains(&port) {
            let why = "port is not valid: must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(at.child("port"), port, why));
        }
    }
}

fn columns(version: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let at = place.child("additionalPrinterColumns").index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(at.child("name"), ""));
        }
        let known = ["boolean", "date", "integer", "number", "string"];
        match text(column, "type") {
            "" => {
                let why = format!("must be one of {}", known.join(","));
                errors.push(FieldError::required(at.child("type"), why));
            }
            of if !known.contains(&of) => {
                let why = format!("must be one of {}", known.join(","));
                errors.push(FieldError::invalid(at.child("type"), of, why));
            }
            _ => {}
        }
        match text(column, "jsonPath") {
            "" => errors.push(FieldError::required(at.child("jsonPath"), "")),
            path => {
                let why = match JsonPath::parse(path) {
                    Err(why) => Some(why),
                    Ok(_) if !path.starts_with('.') => {
                        Some("must be a simple json path starting with .".to_owned())
                    }
                    Ok(_) => None,
                };
                errors.extend(why.map(|why| FieldError::invalid(at.child("jsonPath"), path, why)));
            }
        }
    }
}

fn scale(scale: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    if !scale.is_object() {
        return;
    }
    for (name, under, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", ".status.", false),
    ] {
        let (at, path) = (place.child(&format!("scale.{name}")), text(scale, name));
        // A selector may also be desired.
        let fits = path.starts_with(under) || (!required && path.starts_with(".spec."));
        match path {
            "" if required => errors.push(FieldError::required(at, "")),
            "" => {}
            path if !path.starts_with('.') => {
                errors.push(FieldError::invalid(at, path, "must be a simple json path starting with ."));
            }
            path if !fits => {
                let under = if required { under.trim_end_matches('.') } else { ".status or .spec" };
                let why = format!("should be a json path under {under}");
                errors.push(FieldError::invalid(at, path, why));
            }
            _ => {}
        }
    }
}

/// Fields that selectors may speak of: scalars that the schema knows.
fn selectable(version: &Value, place: &Path, errors: &mut Vec<FieldError>) {
    const MOST: usize = 8;
    let fields = list(version, "selectableFields");
    let base = place.child("selectableFields");
    if fields.len() > MOST {
        errors.push(FieldError::too_many(&base, fields.len(), MOST));
    }
    let document = &version["schema"]["openAPIV3Schema"];
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (at, path) = (base.index(index).child("jsonPath"), text(field, "jsonPath"));
        if path.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        if seen.contains(&path) {
            errors.push(FieldError::duplicate(&at, path));
        }
        seen.push(path);
        let steps = path.trim_start_matches('.').split('.');
        let found = steps.clone().try_fold(document, |schema, name| schema["properties"].get(name));
        if steps.clone().next() == Some("metadata") {
            errors.push(FieldError::invalid(&at, path, "must not point to fields in metadata"));
        } else {
            match found.map(|schema| text(schema, "type")) {
                None => errors.push(FieldError::invalid(
                    &at,
                    path,
                    "is an invalid path: does not exist in the schema",
                )),
                Some("string" | "integer" | "boolean") => {}
                Some(_) => {
                    let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
                    errors.push(FieldError::invalid(&at, path, why));
                }
            }
        }
    }
}

/// Groups of the Kubernetes project need its approval.
fn approval(definition: &Value, errors: &mut Vec<FieldError>) {
    let group = text(&definition["spec"], "group");
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !protected("k8s.io") && !protected("kubernetes.io") {
        return;
    }
    let path = "metadata.annotations[api-approved.kubernetes.io]";
    let url = "https://github.com/kubernetes/enhancements/pull/1111";
    match definition["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default() {
        "" => {
            let why = format!("protected groups must have approval annotation \"{APPROVAL}\", see {url}");
            errors.push(FieldError::required(path, why));
        }
        value if value.starts_with("https://") || value.starts_with("unapproved") => {}
        value => {
            let why = format!(
                "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", see {url}"
            );
            errors.push(FieldError::invalid(path, value, why));
        }
    }
}
