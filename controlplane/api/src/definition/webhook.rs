//! Webhooks that convert or admit: how they are reached, and in which versions they are asked.

use std::collections::HashSet;

use base64::Engine as _;
use serde_json::Value;

use super::validation::{list, text};
use crate::field::{FieldError, Path, quote};
use crate::names::{dns_1035_label, dns_subdomain};
use crate::x509;

const FORM: &str = "; desired format: https://host[/path]";

/// `conversion` of a definition; `checks_authority` where what is wrong with its authority cannot be mended any more without
/// anybody noticing.
pub(super) fn conversion(
    conversion: &Value,
    checks_authority: bool,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let (webhook, strategy) = (&conversion["webhook"], text(conversion, "strategy"));
    let (client, versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    match strategy {
        "" => errors.push(FieldError::required(path.child("strategy"), "")),
        "None" | "Webhook" => {}
        other => {
            errors.push(FieldError::not_supported(path.child("strategy"), other, &["None", "Webhook"]));
        }
    }
    let reviews = list(webhook, "conversionReviewVersions");
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if !webhook["clientConfig"].is_null() {
            errors.push(FieldError::forbidden(client, why));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(versions, why));
        }
        return;
    }
    let config = &webhook["clientConfig"];
    if config.is_null() {
        errors.push(FieldError::required(&client, "required when strategy is set to Webhook"));
    } else {
        client_config(config, &client, errors);
        if checks_authority && let Some(why) = bad_authority(config) {
            let why = format!("unable to load root certificates: {why}");
            errors.push(FieldError::invalid(client.child("caBundle"), config["caBundle"].clone(), why));
        }
    }
    review_versions(reviews, &versions, errors);
}

/// What is wrong with the bundle of authorities, where there is one.
pub(super) fn bad_authority(config: &Value) -> Option<String> {
    let bundle = text(config, "caBundle");
    let bytes = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
    if bundle.is_empty() { None } else { x509::check_authorities(&bytes).err() }
}

fn review_versions(versions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if versions.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if !seen.insert(name) {
            errors.push(FieldError::invalid(path.index(index), name, "duplicate version"));
            continue;
        }
        for complaint in dns_1035_label(name) {
            errors.push(FieldError::invalid(path.index(index), name, complaint));
        }
    }
    if !seen.contains("v1") && !seen.contains("v1beta1") {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, Value::from(versions), why));
    }
}

/// How a webhook is reached: by URL or by Service.
pub(crate) fn client_config(config: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (url, service) = (config["url"].as_str(), &config["service"]);
    match url {
        Some(_) if service.is_object() => {
            errors.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        Some(url) => self::url(url, &path.child("url"), errors),
        None if service.is_object() => self::service(service, &path.child("service"), errors),
        None => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
}

/// A URL in its parts, as far as they are asked for.
fn url(text: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if text.chars().any(|c| c.is_ascii_control()) {
        let why = format!(
            "url must be a valid URL: parse {}: net/url: invalid control character in URL{FORM}",
            quote(text)
        );
        return errors.push(FieldError::required(path, why));
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let (scheme, rest) = rest.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", rest));
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, why));
    }
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    if authority.contains('@') {
        let why = "user information is not permitted in the URL";
        errors.push(FieldError::invalid(path, user, why));
    }
    if !fragment.is_empty() {
        errors.push(FieldError::invalid(path, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(FieldError::invalid(path, query, "query parameters are not permitted in the URL"));
    }
}

fn service(service: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    // Upstream mixes up the two: what is missing is said of the other.
    for (missing, said) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, missing).is_empty() {
            errors.push(FieldError::required(path.child(said), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(path.child("port"), port, why));
    }
    let (whole, path) = (text(service, "path"), path.child("path"));
    let mut refuse = |why: String| errors.push(FieldError::invalid(&path, whole, why));
    match whole {
        "" | "/" => return,
        "//" => return refuse("segment[0] may not be empty".into()),
        _ => {}
    }
    let inner = whole.strip_prefix('/').unwrap_or_else(|| {
        refuse("must start with a '/'".into());
        let mut rest = whole.chars();
        rest.next();
        rest.as_str()
    });
    for (index, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        match step {
            "" => refuse(format!("segment[{index}] may not be empty")),
            step => dns_subdomain(step)
                .into_iter()
                .for_each(|complaint| refuse(format!("segment[{index}]: {complaint}"))),
        }
    }
}
