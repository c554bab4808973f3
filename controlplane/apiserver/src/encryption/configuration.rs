//! EncryptionConfiguration (apiserver.config.k8s.io/v1): which resources are written with which key.
//!
//! The first entry that names a resource counts, as upstream: `secrets`, `deployments.apps`, `*.apps`, `*.` (the core
//! group), `*.*`. Its first provider writes. Every key of the file reads, whichever entry it stands in: an object names
//! its key.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::key::{Key, Unfit};
use crate::configuration_file::{ConfigurationError, invalid, read};

/// What an id may have, as its length is one byte.
const NAME_MAX: usize = 200;

/// The keys of a configuration, and who uses which.
#[derive(Debug, Default)]
pub struct Keyring {
    entries: Vec<(Vec<String>, Option<Arc<Key>>)>,
    by_id: HashMap<String, Vec<Arc<Key>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    resources: Vec<String>,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    aesgcm: Option<Keys>,
    secretbox: Option<Keys>,
    aescbc: Option<serde_json::Value>,
    kms: Option<serde_json::Value>,
    identity: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    secret: String,
}

impl Keyring {
    /// Reads a configuration.
    pub fn parse(text: &str) -> Result<Keyring, ConfigurationError> {
        let file: File = read(text, "apiserver.config.k8s.io/v1", "EncryptionConfiguration")?;
        let mut keyring = Keyring::default();
        for (position, entry) in file.resources.into_iter().enumerate() {
            keyring.add(position, entry)?;
        }
        if keyring.entries.is_empty() {
            return Err(invalid("resources", "must name at least one resource"));
        }
        Ok(keyring)
    }

    fn add(&mut self, entry: usize, found: Entry) -> Result<(), ConfigurationError> {
        let at = format!("resources[{entry}]");
        if found.resources.is_empty() || found.resources.iter().any(String::is_empty) {
            return Err(invalid(format!("{at}.resources"), "must name at least one resource"));
        }
        let mut writer = None;
        for (position, provider) in found.providers.into_iter().enumerate() {
            let keys = keys_of(entry, position, provider)?;
            writer.get_or_insert_with(|| keys.first().cloned());
            for key in keys {
                self.by_id.entry(key.id.clone()).or_default().push(key);
            }
        }
        let writer =
            writer.ok_or_else(|| invalid(format!("{at}.providers"), "must name at least one provider"))?;
        self.entries.push((found.resources, writer));
        Ok(())
    }

    /// The key that objects of a resource are written with; none where they are not encrypted.
    pub fn writer(&self, group: &str, resource: &str) -> Option<&Arc<Key>> {
        let names = |pattern: &String| covers(pattern, group, resource);
        self.entries.iter().find(|(patterns, _)| patterns.iter().any(names))?.1.as_ref()
    }

    /// Whether objects of this key can be read.
    pub fn knows(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Opens what a key of this id has sealed. `None`: there is no such key.
    pub fn open(&self, id: &str, sealed: &[u8], around: &[u8]) -> Option<Result<Vec<u8>, Unfit>> {
        // Two entries may call different keys by one name.
        let keys = self.by_id.get(id)?;
        Some(keys.iter().find_map(|key| key.open(sealed, around).ok()).ok_or(Unfit))
    }
}

/// The keys of a provider; none for `identity`.
fn keys_of(entry: usize, position: usize, provider: Provider) -> Result<Vec<Arc<Key>>, ConfigurationError> {
    let at = format!("resources[{entry}].providers[{position}]");
    let unsupported =
        |provider| invalid(&at, format!("{provider} is not supported: use aesgcm, secretbox or identity"));
    if provider.aescbc.is_some() {
        return Err(unsupported("aescbc (it is not authenticated)"));
    }
    if provider.kms.is_some() {
        return Err(unsupported("kms"));
    }
    match (provider.aesgcm, provider.secretbox, provider.identity) {
        (Some(keys), None, None) => named(&format!("{at}.aesgcm"), keys, &[16, 24, 32], Key::aes_gcm),
        (None, Some(keys), None) => named(&format!("{at}.secretbox"), keys, &[32], Key::secret_box),
        (None, None, Some(Nothing {})) => Ok(Vec::new()),
        (None, None, None) => Err(invalid(
            at,
            "provider does not contain any of the expected providers: aesgcm, secretbox, identity",
        )),
        _ => Err(invalid(
            at,
            "more than one provider specified in a single element, should split into different list elements",
        )),
    }
}

fn named(
    at: &str,
    keys: Keys,
    sizes: &[usize],
    make: fn(&str, &[u8]) -> Key,
) -> Result<Vec<Arc<Key>>, ConfigurationError> {
    if keys.keys.is_empty() {
        return Err(invalid(format!("{at}.keys"), "must name at least one key"));
    }
    let mut made: Vec<Arc<Key>> = Vec::new();
    for (position, key) in keys.keys.into_iter().enumerate() {
        let at = format!("{at}.keys[{position}]");
        if key.name.is_empty() || key.name.contains(':') || key.name.len() > NAME_MAX {
            return Err(invalid(format!("{at}.name"), "must be a name of at most 200 bytes without ':'"));
        }
        let secret = STANDARD.decode(&key.secret);
        let secret = secret.map_err(|_| invalid(format!("{at}.secret"), "secrets must be base64 encoded"))?;
        if !sizes.contains(&secret.len()) {
            let why = format!(
                "secret is not of the expected length, got {}, expected one of {sizes:?}",
                secret.len()
            );
            return Err(invalid(format!("{at}.secret"), why));
        }
        let key = make(&key.name, &secret);
        if made.iter().any(|known| known.id == key.id) {
            return Err(invalid(format!("{at}.name"), "is there twice"));
        }
        made.push(Arc::new(key));
    }
    Ok(made)
}

/// Whether a name of a configuration means a resource.
fn covers(pattern: &str, group: &str, resource: &str) -> bool {
    let (named, of) = pattern.split_once('.').unwrap_or((pattern, ""));
    match (named, of) {
        ("*", "*") => true,
        ("*", of) => pattern != "*" && of == group,
        (named, of) => named == resource && of == group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(resources: &str) -> Result<Keyring, ConfigurationError> {
        Keyring::parse(&format!(
            "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n{resources}"
        ))
    }

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    #[test]
    fn the_first_entry_that_names_a_resource_says_how_it_is_written() {
        let keyring = parse(&format!(
            "- resources: [secrets, widgets.example.com]\n  providers: [{{aesgcm: {{keys: [{{name: b, secret: {KEY}}}, {{name: a, secret: {KEY}}}]}}}}, {{identity: {{}}}}]\n\
             - resources: [events]\n  providers: [{{identity: {{}}}}]\n\
             - resources: ['*.apps', '*.']\n  providers: [{{secretbox: {{keys: [{{name: c, secret: {KEY}}}]}}}}]\n"
        ))
        .unwrap();
        for (group, resource, id) in [
            ("", "secrets", "aesgcm:v1:b"),
            ("example.com", "widgets", "aesgcm:v1:b"),
            ("example.com", "gadgets", ""),
            ("", "events", ""),
            ("", "configmaps", "secretbox:v1:c"),
            ("apps", "deployments", "secretbox:v1:c"),
            ("batch", "jobs", ""),
        ] {
            assert_eq!(keyring.writer(group, resource).map_or("", |key| &key.id), id, "{resource}.{group}");
        }
        assert!(keyring.knows("aesgcm:v1:a") && !keyring.knows("aesgcm:v1:c"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (resources, said) in [
            (
                format!(
                    "- resources: [secrets]\n  providers: [{{aescbc: {{keys: [{{name: a, secret: {KEY}}}]}}}}]"
                ),
                "resources[0].providers[0]: aescbc (it is not authenticated) is not supported",
            ),
            ("- resources: [secrets]\n  providers: [{kms: {name: x}}]".into(), "kms is not supported"),
            ("- resources: []\n  providers: [{identity: {}}]".into(), "resources[0].resources: must name"),
            ("- resources: [secrets]\n  providers: []".into(), "resources[0].providers: must name"),
            (
                "- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: 'AAAA'}]}}]".into(),
                "resources[0].providers[0].aesgcm.keys[0].secret: secret is not of the expected length, got 3",
            ),
            (
                "- resources: [secrets]\n  providers: [{aesgcm: {keys: [{name: a, secret: '?'}]}}]".into(),
                "secrets must be base64 encoded",
            ),
            ("- resources: [secrets]\n  providers: [{nothing: {}}]".into(), "nothing"),
        ] {
            let error = parse(&resources).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Keyring::parse("kind: Pod\napiVersion: v1\nresources: []").unwrap_err().to_string();
        assert!(error.contains("\"v1, Kind=Pod\" is not"), "{error}");
    }
}
