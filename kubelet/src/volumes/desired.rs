//! What volumes a pod asks for: `spec.volumes`, typed. Pure.
//!
//! Reference: core/v1 Volume.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::quantity::Quantity;
use serde_json::Value;

use super::claim::Claim;
use super::objects::{Kind, ObjectName, Use};
use crate::pod::{Pod, PullPolicy};
use crate::token::{DEFAULT_SECONDS, TokenWish};

const DEFAULT_MODE: u32 = 0o644;

/// One volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    pub name: String,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    EmptyDir {
        medium: Medium,
        /// Bytes; 0 for none.
        limit: i64,
    },
    HostPath {
        path: PathBuf,
        /// `""` is no check.
        kind: String,
    },
    /// What a claim is bound to.
    Claim(Claim),
    /// An image, pulled when a container that mounts it starts; the runtime mounts it.
    Image { reference: String, policy: PullPolicy },
    /// Files that the kubelet writes, and writes anew.
    Files { plugin: &'static str, parts: Vec<Part>, mode: u32 },
    /// By the field's name; none at all is an empty name.
    Unsupported(String),
}

/// What an emptyDir is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    Disk,
    Memory,
    /// The page size as in `HugePages-2Mi`; empty for the machine's default.
    HugePages(String),
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Object {
        kind: Kind,
        name: String,
        /// Empty: every key.
        items: Vec<Item>,
        optional: bool,
    },
    Downward(Vec<DownwardItem>),
    Token {
        wish: TokenWish,
        path: String,
    },
    /// By the field's name.
    Unsupported(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub path: String,
    pub mode: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DownwardItem {
    pub path: String,
    pub mode: Option<u32>,
    /// `fieldRef` or `resourceFieldRef` as it stands.
    pub value: Value,
}

/// All volumes of a pod, in order.
pub fn of(pod: &Pod) -> Vec<Volume> {
    let volumes = pod.spec()["volumes"].as_array().into_iter().flatten();
    volumes.map(|volume| Volume { name: text(&volume["name"]), source: source(pod, volume) }).collect()
}

/// The ConfigMaps and Secrets that a pod's volumes and environments are made from.
pub fn references(pod: &Pod) -> BTreeMap<ObjectName, Use> {
    let name = |kind: Kind, name: String| ObjectName { kind, namespace: pod.key.namespace.clone(), name };
    let mut out = BTreeMap::new();
    for container in pod.containers() {
        for (kind, object) in crate::environment::references(container) {
            out.insert(name(kind, object), Use::Environment);
        }
    }
    for volume in of(pod) {
        let Source::Files { parts, .. } = volume.source else { continue };
        for part in parts {
            if let Part::Object { kind, name: object, .. } = part {
                out.insert(name(kind, object), Use::Volume);
            }
        }
    }
    out
}

fn source(pod: &Pod, volume: &Value) -> Source {
    let known = |field: &str| volume.get(field).filter(|value| value.is_object());
    if let Some(own) = known("emptyDir") {
        let limit = quantity(&own["sizeLimit"]);
        return Source::EmptyDir { medium: medium(own["medium"].as_str().unwrap_or_default()), limit };
    }
    if let Some(own) = known("hostPath") {
        return Source::HostPath { path: text(&own["path"]).into(), kind: text(&own["type"]) };
    }
    if let Some(own) = known("persistentVolumeClaim") {
        let (name, read_only) = (text(&own["claimName"]), own["readOnly"] == true);
        return Source::Claim(Claim { name, read_only, ephemeral: false });
    }
    if known("ephemeral").is_some() {
        let name = format!("{}-{}", pod.key.name, text(&volume["name"]));
        return Source::Claim(Claim { name, read_only: false, ephemeral: true });
    }
    if let Some(own) = known("image") {
        let reference = text(&own["reference"]);
        return Source::Image { policy: PullPolicy::read(&own["pullPolicy"], &reference), reference };
    }
    let files = |plugin: &'static str, own: &Value, parts: Vec<Part>| {
        let mode = mode(&own["defaultMode"]).unwrap_or(DEFAULT_MODE);
        Source::Files { plugin, parts, mode }
    };
    if let Some(own) = known("configMap") {
        return files("kubernetes.io~configmap", own, vec![object(Kind::ConfigMap, own, "name")]);
    }
    if let Some(own) = known("secret") {
        return files("kubernetes.io~secret", own, vec![object(Kind::Secret, own, "secretName")]);
    }
    if let Some(own) = known("downwardAPI") {
        return files("kubernetes.io~downward-api", own, vec![downward(own)]);
    }
    if let Some(own) = known("projected") {
        let sources = own["sources"].as_array().into_iter().flatten();
        return files("kubernetes.io~projected", own, sources.map(part).collect());
    }
    let other =
        volume.as_object().into_iter().flatten().map(|(field, _)| field).find(|field| *field != "name");
    Source::Unsupported(other.cloned().unwrap_or_default())
}

fn part(source: &Value) -> Part {
    let known = |field: &str| source.get(field).filter(|value| value.is_object());
    if let Some(own) = known("configMap") {
        return object(Kind::ConfigMap, own, "name");
    }
    if let Some(own) = known("secret") {
        return object(Kind::Secret, own, "name");
    }
    if let Some(own) = known("downwardAPI") {
        return downward(own);
    }
    if let Some(own) = known("serviceAccountToken") {
        let seconds = own["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
        let wish = TokenWish { audience: text(&own["audience"]), seconds };
        return Part::Token { wish, path: text(&own["path"]) };
    }
    let other = source.as_object().into_iter().flatten().map(|(field, _)| field.clone()).next();
    Part::Unsupported(other.unwrap_or_default())
}

fn object(kind: Kind, own: &Value, name: &str) -> Part {
    let items = own["items"].as_array().into_iter().flatten().map(|item| Item {
        key: text(&item["key"]),
        path: text(&item["path"]),
        mode: mode(&item["mode"]),
    });
    Part::Object { kind, name: text(&own[name]), items: items.collect(), optional: own["optional"] == true }
}

fn downward(own: &Value) -> Part {
    let items = own["items"].as_array().into_iter().flatten().map(|item| DownwardItem {
        path: text(&item["path"]),
        mode: mode(&item["mode"]),
        value: item.clone(),
    });
    Part::Downward(items.collect())
}

fn medium(text: &str) -> Medium {
    match text {
        "Memory" => Medium::Memory,
        "HugePages" => Medium::HugePages(String::new()),
        other => match other.strip_prefix("HugePages-") {
            Some(size) => Medium::HugePages(size.to_owned()),
            None => Medium::Disk,
        },
    }
}

fn mode(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|mode| u32::try_from(mode).ok())
}

fn quantity(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Quantity::parse(&text).map(|quantity| quantity.units()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(volume: Value, expect: Source) {
        let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {"volumes": [volume]}}));
        assert_eq!(of(&pod)[0].source, expect, "{volume}");
    }

    #[test]
    fn volumes_are_read() {
        check(json!({"name": "v", "emptyDir": {}}), Source::EmptyDir { medium: Medium::Disk, limit: 0 });
        check(
            json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
            Source::EmptyDir { medium: Medium::Memory, limit: 1 << 20 },
        );
        check(
            json!({"name": "v", "emptyDir": {"medium": "HugePages-2Mi"}}),
            Source::EmptyDir { medium: Medium::HugePages("2Mi".into()), limit: 0 },
        );
        check(
            json!({"name": "v", "hostPath": {"path": "/x", "type": "Socket"}}),
            Source::HostPath { path: "/x".into(), kind: "Socket".into() },
        );
        let item = Item { key: "k".into(), path: "p".into(), mode: Some(0o400) };
        check(
            json!({"name": "v", "secret": {"secretName": "s", "optional": true, "defaultMode": 256, "items": [{"key": "k", "path": "p", "mode": 256}]}}),
            Source::Files {
                plugin: "kubernetes.io~secret",
                parts: vec![Part::Object {
                    kind: Kind::Secret,
                    name: "s".into(),
                    items: vec![item],
                    optional: true,
                }],
                mode: 0o400,
            },
        );
        check(
            json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"clusterTrustBundle": {}}]}}),
            Source::Files {
                plugin: "kubernetes.io~projected",
                parts: vec![
                    Part::Token {
                        wish: TokenWish { audience: String::new(), seconds: 3600 },
                        path: "token".into(),
                    },
                    Part::Unsupported("clusterTrustBundle".into()),
                ],
                mode: 0o644,
            },
        );
        check(
            json!({"name": "v", "image": {"reference": "models:1"}}),
            Source::Image { reference: "models:1".into(), policy: PullPolicy::IfNotPresent },
        );
        let claim = |name: &str, read_only, ephemeral| {
            Source::Claim(Claim { name: name.into(), read_only, ephemeral })
        };
        check(
            json!({"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}),
            claim("c", true, false),
        );
        check(json!({"name": "v", "ephemeral": {}}), claim("p-v", false, true));
        check(json!({"name": "v", "nfs": {"server": "s"}}), Source::Unsupported("nfs".into()));
    }

    #[test]
    fn a_volume_counts_for_more_than_an_environment() {
        let pod = Pod::of(json!({"metadata": {"namespace": "n", "name": "p"}, "spec": {
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "a"}}]}}));
        let found: Vec<_> = references(&pod).into_iter().map(|(name, usage)| (name.name, usage)).collect();
        assert_eq!(found, [("a".to_owned(), Use::Volume), ("b".to_owned(), Use::Environment)]);
    }
}
