//! The image configuration: how a container of this image starts, and which layers it is made of.
//!
//! Only what a runtime reads is a field; everything else stays in the stored JSON, which callers get
//! unchanged. Docker writes `null` where OCI leaves a key out: both mean empty.
//!
//! Reference: OCI image spec, config.md.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::digest::Digest;

/// What an image says about containers made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `name`, `uid`, `name:group` or `uid:gid`; empty for root.
    pub user: String,
    /// `KEY=value` in the image's order.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Empty for `/`.
    pub working_dir: String,
    /// `SIGTERM` or a number; empty for the runtime's default.
    pub stop_signal: String,
    pub volumes: Vec<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub os: String,
    pub architecture: String,
    pub variant: String,
    /// RFC 3339 as the image says it; empty if it says nothing.
    pub created: String,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the image configuration is not the JSON it should be")]
    Json(#[source] serde_json::Error),
    #[error("the image configuration has rootfs type {0:?}; only \"layers\" exists")]
    RootfsType(String),
}

// === impl ImageConfig ===

impl ImageConfig {
    /// Reads the stored JSON.
    ///
    /// # Errors
    /// When it is not an image configuration.
    pub fn parse(json: &[u8]) -> Result<ImageConfig, ConfigError> {
        let document: Document = serde_json::from_slice(json).map_err(ConfigError::Json)?;
        if document.rootfs.kind != "layers" {
            return Err(ConfigError::RootfsType(document.rootfs.kind));
        }
        let process = document.config;
        Ok(ImageConfig {
            user: process.user,
            env: process.env,
            entrypoint: process.entrypoint,
            cmd: process.cmd,
            working_dir: process.working_dir,
            stop_signal: process.stop_signal,
            volumes: process.volumes.into_keys().collect(),
            exposed_ports: process.exposed_ports.into_keys().collect(),
            labels: process.labels,
            os: document.os,
            architecture: document.architecture,
            variant: document.variant,
            created: document.created,
            diff_ids: document.rootfs.diff_ids,
        })
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "or_default")]
    created: String,
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    variant: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Process,
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(value)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_and_oci_forms_are_read() {
        let json = br#"{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","author":null,
            "config":{"User":"1000:1000","Env":["PATH=/bin"],"Entrypoint":null,"Cmd":["sh"],"WorkingDir":"/w",
                "ExposedPorts":{"80/tcp":{}},"Volumes":{"/data":{}},"Labels":null,"StopSignal":"SIGQUIT","OnBuild":null},
            "rootfs":{"type":"layers","diff_ids":
                ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"history":[]}"#;
        let config = ImageConfig::parse(json).unwrap();
        assert_eq!(config.user, "1000:1000");
        assert_eq!((config.entrypoint, config.cmd), (vec![], vec!["sh".to_owned()]));
        assert_eq!(config.exposed_ports, ["80/tcp"]);
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.stop_signal, "SIGQUIT");
        assert_eq!(config.diff_ids.len(), 1);
        let bare = br#"{"config":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        assert_eq!(ImageConfig::parse(bare).unwrap(), ImageConfig::default());
    }

    #[test]
    fn other_documents_are_refused() {
        for json in [
            "{}",
            "[]",
            "",
            r#"{"rootfs":{"type":"layers","diff_ids":["md5:1"]}}"#,
            r#"{"rootfs":{"type":"vm"}}"#,
        ] {
            assert!(ImageConfig::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
