//! Manifests and indexes, of OCI and of Docker: what they are, and what is in them.
//!
//! Pure. Reference: OCI image spec manifest.md and image-index.md; Docker image manifest v2 schema 2.

use serde::Deserialize;

use crate::digest::Digest;
use crate::platform::Platform;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What registries are asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// Layers that are tar archives, with any compression; it is recognised by content.
const LAYERS: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// Content by digest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<PlatformText>,
    #[serde(default)]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// A platform as documents write it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PlatformText {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// A document that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index { manifests: Vec<Descriptor> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    schema_one: Option<serde::de::IgnoredAny>,
}

// === impl Manifest ===

impl Manifest {
    /// Reads a document; the error is a sentence about it.
    ///
    /// # Errors
    /// When it is neither a manifest nor an index, or of an old or unknown kind.
    pub fn parse(json: &[u8]) -> Result<Manifest, String> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| format!("the manifest cannot be read: {error}"))?;
        if document.schema_one.is_some() || document.schema_version == 1 {
            return Err("the image has a schema 1 manifest, which is not supported: push it again with a current tool"
                .to_owned());
        }
        match (document.config, document.layers, document.manifests) {
            (Some(config), layers, None) => image(config, layers.unwrap_or_default()),
            (None, None, Some(manifests)) => Ok(Manifest::Index { manifests }),
            // A document that is both could be read differently by whoever checked it before.
            (Some(_), _, Some(_)) => Err("the manifest is manifest and index at once".to_owned()),
            _ => Err(format!(
                "{} is neither an image manifest nor an index",
                document.media_type.as_deref().unwrap_or("the document")
            )),
        }
    }

    /// The member of an index that runs best on a platform; the first of equals.
    ///
    /// # Errors
    /// Lists what there is, when nothing runs.
    pub fn choose<'a>(manifests: &'a [Descriptor], host: &Platform) -> Result<&'a Descriptor, String> {
        let fitting = manifests.iter().filter_map(|member| Some((member.distance(host)?, member)));
        fitting.min_by_key(|(distance, _)| *distance).map(|(_, member)| member).ok_or_else(|| {
            let platforms = manifests.iter().filter_map(Descriptor::platform).map(|p| p.to_string());
            let there: Vec<String> = platforms.filter(|p| !p.starts_with("unknown/")).collect();
            format!("no image for {host} in the index; there is: {}", there.join(", "))
        })
    }
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Result<Manifest, String> {
    if !matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG | "") {
        return Err(format!("not a container image: its configuration is {:?}", config.media_type));
    }
    let wrong = layers.iter().map(|layer| layer.media_type.as_str()).find(|kind| {
        let known = LAYERS.iter().any(|layer| {
            kind.strip_prefix(layer)
                .is_some_and(|rest| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd"))
        });
        !known && !kind.is_empty()
    });
    match wrong {
        Some(kind) => Err(format!("layers of type {kind:?} are not supported")),
        None => Ok(Manifest::Image { config, layers }),
    }
}

// === impl Descriptor ===

impl Descriptor {
    fn platform(&self) -> Option<Platform> {
        let text = self.platform.as_ref()?;
        Some(Platform::new(&text.os, &text.architecture, text.variant.as_deref().unwrap_or_default()))
    }

    /// Members without a platform are taken where nothing else fits.
    fn distance(&self, host: &Platform) -> Option<u32> {
        match self.platform() {
            Some(platform) => host.distance(&platform),
            None => Some(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn member(os: &str, architecture: &str, variant: &str) -> String {
        format!(
            r#"{{"mediaType":"m","digest":"{SHA}","size":1,"platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}}}"#
        )
    }

    #[test]
    fn the_best_platform_is_chosen() {
        let all = [
            member("unknown", "unknown", ""),
            member("linux", "arm", "v6"),
            member("linux", "arm", "v7"),
            member("linux", "amd64", ""),
            member("windows", "amd64", ""),
        ];
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, all.join(","));
        let Ok(Manifest::Index { manifests }) = Manifest::parse(json.as_bytes()) else { panic!("an index") };
        for (platform, wanted) in [
            (Platform::new("linux", "amd64", ""), Ok(3)),
            (Platform::new("linux", "arm", "v7"), Ok(2)),
            (Platform::new("linux", "arm", "v6"), Ok(1)),
            (
                Platform::new("linux", "s390x", ""),
                Err("no image for linux/s390x in the index; there is: linux/arm/v6"),
            ),
        ] {
            match (Manifest::choose(&manifests, &platform), wanted) {
                (Ok(found), Ok(at)) => assert_eq!(found, &manifests[at]),
                (Err(said), Err(start)) => assert!(said.starts_with(start), "{said}"),
                (got, wanted) => panic!("{platform}: {got:?}, wanted {wanted:?}"),
            }
        }
    }

    #[test]
    fn documents_are_told_apart() {
        let descriptor = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{SHA}","size":1}}"#);
        let image = |config: &str, layer: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
                descriptor(config),
                descriptor(layer)
            )
        };
        let oci = "application/vnd.oci.image.layer.v1.tar+zstd";
        let both = format!(r#"{{"config":{},"manifests":[]}}"#, descriptor(OCI_CONFIG));
        for (json, wanted) in [
            (image(OCI_CONFIG, oci), Ok(())),
            (image(DOCKER_CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip"), Ok(())),
            (image("application/vnd.cncf.helm.config.v1+json", oci), Err("not a container image")),
            (image(OCI_CONFIG, "application/vnd.in-toto+json"), Err("layers of type")),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), Err("schema 1")),
            (both, Err("at once")),
            ("{}".to_owned(), Err("neither")),
            ("<html>".to_owned(), Err("cannot be read")),
        ] {
            match (Manifest::parse(json.as_bytes()), wanted) {
                (Ok(_), Ok(())) => {}
                (Err(said), Err(part)) => assert!(said.contains(part), "{json}: {said}"),
                (got, _) => panic!("{json}: {got:?}"),
            }
        }
    }
}
