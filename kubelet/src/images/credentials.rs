//! Logins for registries, from the secrets that a pod names.
//!
//! Read when an image is pulled and not kept. A secret that is not there is no error: the registry may be open.
//!
//! Reference: Secret types `kubernetes.io/dockerconfigjson` and `kubernetes.io/dockercfg`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Resource};
use cri_api::v1;
use serde_json::Value;

use super::reference;
use crate::pod::Pod;

/// Logins that fit the image's registry, in the order of the pod's secrets.
pub async fn of(client: &Client, pod: &Pod, image: &str) -> Vec<v1::AuthConfig> {
    let mut logins = Vec::new();
    let names = pod.spec()["imagePullSecrets"].as_array().into_iter().flatten();
    for name in names.filter_map(|entry| entry["name"].as_str()) {
        match client.get(&Resource::SECRETS, &pod.key.namespace, name).await {
            Ok(secret) => logins.extend(read(&secret, image)),
            Err(error) => {
                tracing::warn!(pod = %pod.key.name, ns = %pod.key.namespace, secret = name, %error, "an image pull secret cannot be read");
            }
        }
    }
    logins
}

/// The logins of one secret for one image; the most specific host first.
fn read(secret: &Value, image: &str) -> Vec<v1::AuthConfig> {
    let decode = |key: &str| -> Option<Value> {
        let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    let auths = match (decode(".dockerconfigjson"), decode(".dockercfg")) {
        (Some(config), _) => config["auths"].clone(),
        (None, Some(auths)) => auths,
        (None, None) => return Vec::new(),
    };
    let mut fitting: Vec<(&String, &Value)> =
        auths.as_object().into_iter().flatten().filter(|(host, _)| fits(host, image)).collect();
    fitting.sort_by_key(|(host, _)| std::cmp::Reverse(host.len()));
    fitting.into_iter().map(|(host, login)| auth(host, login)).collect()
}

fn auth(host: &str, login: &Value) -> v1::AuthConfig {
    let text = |field: &str| login[field].as_str().unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    let joined = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((name, secret)) = joined.as_deref().and_then(|joined| joined.split_once(':'))
        && username.is_empty()
    {
        (username, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    v1::AuthConfig {
        username,
        password,
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: host.to_owned(),
        ..Default::default()
    }
}

/// Whether a login is for the image: same host, and its path a prefix of the image's.
fn fits(entry: &str, image: &str) -> bool {
    let entry = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://")).unwrap_or(entry);
    let (host, path) = entry.split_once('/').unwrap_or((entry, ""));
    let registry = reference::registry(image);
    let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if hub(registry) {
        return hub(host);
    }
    let path = path.trim_end_matches('/');
    let api = matches!(path, "" | "v1" | "v2");
    let wanted = image.split_once('/').map_or("", |(_, rest)| rest);
    host_fits(host, registry) && (api || wanted == path || wanted.starts_with(&format!("{path}/")))
}

/// Labels compared one by one; `*` stands for any one label.
fn host_fits(pattern: &str, host: &str) -> bool {
    let split = |text: &str| {
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        (name.split('.').map(str::to_owned).collect::<Vec<_>>(), port.to_owned())
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    pattern_port == port
        && pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(pattern, label)| pattern == "*" || pattern == label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn logins_by_host_and_path() {
        let config = json!({"auths": {
            "r.io:5000": {"auth": STANDARD.encode("one:1")},
            "r.io:5000/team": {"username": "two", "password": "2"},
            "*.example.org": {"username": "three", "password": "3"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "4"},
        }});
        let secret = json!({"data": {".dockerconfigjson": STANDARD.encode(config.to_string())}});
        let names = |image: &str| -> Vec<String> {
            read(&secret, image).into_iter().map(|auth| auth.username).collect()
        };
        assert_eq!(names("r.io:5000/team/a:1"), ["two", "one"]);
        assert_eq!(names("r.io:5000/teammate/a"), ["one"]);
        assert_eq!(names("a.example.org/x"), ["three"]);
        assert_eq!(names("busybox"), ["hub"]);
        assert!(names("other.io/x").is_empty());
        assert!(read(&json!({"data": {}}), "r.io/x").is_empty());
    }
}
