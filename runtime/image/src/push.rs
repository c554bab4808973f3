//! Out of the store: to a registry, or into an archive.
//!
//! The store keeps layers unpacked. Where the registry has the original blobs already, the original manifest is
//! pushed; otherwise layers are packed anew, and the image gets a manifest and an id of its own.
//!
//! Reference: OCI image spec, manifest.md, image-layout.md.

use std::fs::File;
use std::io::{self, Seek as _, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::credentials::Credentials;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::follow::{Follow, State};
use crate::image::Image;
use crate::layer;
use crate::pull::{self, PullError};
use crate::reference::Reference;
use crate::registry::client::{AskError, Repository};
use crate::registry::manifest::{Manifest, OCI_CONFIG, OCI_MANIFEST};
use crate::store::{Store, StoreError, Workspace};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// What was packed is packed for the way, not for ever.
const GZIP_LEVEL: u32 = 1;

/// An image in the form in which it travels.
struct Packed {
    /// Holds the layers' files until they are sent.
    workspace: Workspace,
    manifest: Vec<u8>,
    kind: String,
    config: (Digest, Vec<u8>),
    layers: Vec<(Digest, u64)>,
}

/// Pushes the image that `name` finds as `to`; the digest of its manifest there.
pub(crate) async fn push(
    store: &Store,
    name: &str,
    to: &Reference,
    credentials: Option<Credentials>,
    follow: Follow,
) -> Result<Digest, PullError> {
    let image = store.get(name).ok_or_else(|| StoreError::NoImage(name.to_owned()))?;
    let shown = to.to_string();
    let repository = Repository::open(&store.inner.options.registries_dir, to, credentials)?;
    let failed = |error: AskError| pull::failed(&shown, vec![(to.registry().to_owned(), error)]);
    let tag = to.tag().map_or_else(|| to.asked().to_owned(), str::to_owned);
    if let Some((json, kind)) = original(store, &image, &repository).await.map_err(failed)? {
        let digest = Digest::of(&json);
        repository.give_manifest(&tag, &kind, json.into()).await.map_err(failed)?;
        return Ok(digest);
    }
    let repository = Arc::new(repository);
    let packed = pack(store, &image, &follow).await?;
    for (index, (digest, _)) in packed.layers.iter().enumerate() {
        if repository.has_blob(digest).await.map_err(failed)? {
            follow.state(index, State::Present);
            continue;
        }
        follow.state(index, State::Running);
        let file = open(&packed.workspace.join(&index.to_string()))?;
        let sending = repository.give_blob(digest, file, |bytes| follow.add(index, bytes));
        tokio::select! {
            sent = sending => sent.map_err(failed)?,
            () = follow.stopped() => return Err(PullError::Stopped(shown)),
        }
        follow.state(index, State::Done);
    }
    let (id, config) = &packed.config;
    if !repository.has_blob(id).await.map_err(failed)? {
        repository.give_blob(id, config.as_slice(), |_| {}).await.map_err(failed)?;
    }
    let digest = Digest::of(&packed.manifest);
    repository.give_manifest(&tag, &packed.kind, packed.manifest.into()).await.map_err(failed)?;
    Ok(digest)
}

/// The manifest as it once came, if the registry has all that it names.
async fn original(
    store: &Store,
    image: &Image,
    repository: &Repository,
) -> Result<Option<(Vec<u8>, String)>, AskError> {
    let Some(json) = store.manifest(image) else { return Ok(None) };
    let Ok(Manifest::Image { config, layers }) = Manifest::parse(&json) else { return Ok(None) };
    for digest in layers.iter().map(|layer| &layer.digest).chain([&config.digest]) {
        if !repository.has_blob(digest).await? {
            return Ok(None);
        }
    }
    let kind = serde_json::from_slice::<Value>(&json).ok();
    let kind = kind.and_then(|json| json["mediaType"].as_str().map(str::to_owned));
    Ok(Some((json, kind.unwrap_or_else(|| OCI_MANIFEST.to_owned()))))
}

/// Writes an image as a tar archive of an OCI layout. The file must not be there.
pub(crate) async fn export(
    store: &Store,
    name: &str,
    path: &Path,
    follow: Follow,
) -> Result<Digest, PullError> {
    let image = store.get(name).ok_or_else(|| StoreError::NoImage(name.to_owned()))?;
    let packed = pack(store, &image, &follow).await?;
    let (shown, path, tag) = (name.to_owned(), path.to_owned(), image.tags.first().cloned());
    let written = tokio::task::spawn_blocking(move || {
        let file = File::options().write(true).create_new(true).open(&path)?;
        archive(&packed, tag.as_deref(), io::BufWriter::new(file)).inspect_err(|_| {
            let _half = std::fs::remove_file(&path);
        })
    });
    let written = written.await.map_err(|_| PullError::Stopped(shown.clone()))?;
    written.map_err(|source| unwritten(&shown, source))
}

fn archive(packed: &Packed, tag: Option<&str>, out: impl Write) -> io::Result<Digest> {
    let digest = Digest::of(&packed.manifest);
    let mut top =
        json!({"mediaType": packed.kind, "digest": digest.to_string(), "size": packed.manifest.len()});
    if let Some(tag) = tag {
        top["annotations"] =
            json!({"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag});
    }
    let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
    let mut builder = tar::Builder::new(out);
    let mut member = |name: &str, length: u64, content: &mut dyn io::Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(length);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content)
    };
    let blob = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    member("oci-layout", layout.len() as u64, &mut layout.as_slice())?;
    member("index.json", index.len() as u64, &mut index.as_bytes())?;
    member(&blob(&digest), packed.manifest.len() as u64, &mut packed.manifest.as_slice())?;
    let (id, config) = &packed.config;
    member(&blob(id), config.len() as u64, &mut config.as_slice())?;
    for (index, (digest, length)) in packed.layers.iter().enumerate() {
        member(&blob(digest), *length, &mut File::open(packed.workspace.join(&index.to_string()))?)?;
    }
    builder.into_inner()?.flush()?;
    Ok(digest)
}

/// Packs every layer into a file of a workspace, one after the other.
async fn pack(store: &Store, image: &Image, follow: &Follow) -> Result<Packed, PullError> {
    let unpacked = store.layers_of(image)?;
    follow.begin(image.config.diff_ids.iter().map(|id| (id.to_string(), 0)));
    let workspace = store.inner.layout.workspace()?;
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (index, (folder, with_root)) in unpacked.folders.iter().cloned().enumerate() {
        let target = workspace.join(&index.to_string());
        let packing = tokio::task::spawn_blocking(move || pack_layer(&folder, with_root, &target));
        let packed = tokio::select! {
            packed = packing => packed.map_err(|_| PullError::Stopped(image.id.to_string()))?,
            () = follow.stopped() => return Err(PullError::Stopped(image.id.to_string())),
        };
        let (digest, size, diff_id) = packed.map_err(|source| unwritten(image.id.as_str(), source))?;
        follow.size(index, size);
        layers.push((digest, size));
        diff_ids.push(diff_id.to_string());
    }
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        path: store.root().to_owned(),
        reason: format!("the configuration of {}: {error}", image.id),
    };
    let mut config: Value = serde_json::from_str(&image.config_json).map_err(damaged)?;
    config["rootfs"]["diff_ids"] = json!(diff_ids);
    let config = config.to_string().into_bytes();
    let id = Digest::of(&config);
    let described: Vec<Value> = layers
        .iter()
        .map(|(digest, size)| json!({"mediaType": LAYER, "digest": digest.to_string(), "size": size}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": id.to_string(), "size": config.len()},
        "layers": described,
    });
    let manifest = manifest.to_string().into_bytes();
    Ok(Packed { workspace, manifest, kind: OCI_MANIFEST.to_owned(), config: (id, config), layers })
}

/// Digest and length of the compressed archive, and the archive's own digest.
fn pack_layer(folder: &Path, with_root: bool, target: &Path) -> io::Result<(Digest, u64, Digest)> {
    let outer =
        Hashed { out: io::BufWriter::new(File::create_new(target)?), hasher: Hasher::new(Algorithm::Sha256) };
    let gzip = flate2::write::GzEncoder::new(outer, flate2::Compression::new(GZIP_LEVEL));
    let mut inner = Hashed { out: gzip, hasher: Hasher::new(Algorithm::Sha256) };
    layer::pack(folder, with_root, &mut inner)?;
    let Hashed { out: gzip, hasher: inner } = inner;
    let Hashed { out: mut file, hasher: outer } = gzip.finish()?;
    file.flush()?;
    Ok((outer.finish(), file.stream_position()?, inner.finish()))
}

/// Digests what passes.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn open(path: &Path) -> Result<File, PullError> {
    File::open(path).map_err(|source| unwritten(&path.display().to_string(), source))
}

fn unwritten(what: &str, source: io::Error) -> PullError {
    if source.kind() == io::ErrorKind::StorageFull {
        return PullError::NoSpace { what: what.to_owned() };
    }
    PullError::Io { what: "packing an image".to_owned(), path: what.into(), source }
}
