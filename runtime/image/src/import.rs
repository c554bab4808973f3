//! Images from archives: OCI layouts (a directory, or a tar archive of one) and `docker save`.
//!
//! A compressed archive is unpacked into the store's `tmp` first, because its members are read in
//! another order than they are stored. Nothing of it is trusted: members are found by name in the
//! archive's own list, and every digest is checked as in a pull.
//!
//! Reference: OCI image spec, image-layout.md; Docker's image tarball format.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::follow::Follow;
use crate::image::ImageId;
use crate::ingest::{self, Content, Layer, Source};
use crate::layer::{self, Fault};
use crate::pull::PullError;
use crate::reference::Reference;
use crate::registry::manifest::{Descriptor, Manifest};
use crate::store::{Store, Workspace};

/// Members of one archive.
const MEMBERS_MAX: usize = 100_000;
/// Links from member to member, in archives of old `docker save`.
const LINKS_MAX: usize = 8;
const NAME_ANNOTATIONS: &[&str] = &["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Where the files of an image are.
enum Archive {
    Directory(PathBuf),
    Tar {
        path: PathBuf,
        members: HashMap<Vec<u8>, Member>,
        /// Keeps the unpacked copy of a compressed archive.
        _copy: Option<Workspace>,
    },
}

#[derive(Clone, Debug)]
enum Member {
    Data { offset: u64, length: u64 },
    Link(Vec<u8>),
}

/// A run of bytes in a file.
struct Part {
    path: PathBuf,
    offset: u64,
    length: u64,
}

/// One image of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(crate) async fn import(store: &Store, path: &Path, follow: Follow) -> Result<Vec<ImageId>, PullError> {
    let (reader, from) = (store.clone(), path.to_owned());
    let contents = tokio::task::spawn_blocking(move || {
        let archive = Archive::open(&reader, &from)?;
        let contents = archive.contents(&reader, &from.display().to_string())?;
        Ok::<_, PullError>((archive, contents))
    });
    let stopped = |_| PullError::Stopped(path.display().to_string());
    let (_archive, contents) = contents.await.map_err(stopped)??;
    let mut ids = Vec::new();
    for content in contents {
        ids.push(ingest::ingest(store, content, follow.clone()).await?);
    }
    Ok(ids)
}

// === impl Archive ===

impl Archive {
    fn open(store: &Store, path: &Path) -> Result<Archive, PullError> {
        let what = path.display().to_string();
        let io = |source| PullError::Io {
            what: "reading an image archive".to_owned(),
            path: path.to_owned(),
            source,
        };
        if std::fs::metadata(path).map_err(io)?.is_dir() {
            return Ok(Archive::Directory(path.to_owned()));
        }
        let (path, copy) = match layer::inflate(File::open(path).map_err(io)?).map_err(io)? {
            None => (path.to_owned(), None),
            Some(inflated) => {
                let workspace = store.inner.layout.workspace()?;
                let copy = workspace.join("archive.tar");
                let most = store.inner.options.limits.unpacked_bytes;
                let written = File::create(&copy)
                    .and_then(|mut file| io::copy(&mut inflated.take(most.saturating_add(1)), &mut file));
                if written.map_err(|error| unread(&what, error))? > most {
                    let reason = format!("the archive unpacks to more than {most} bytes");
                    return Err(PullError::Refused { what, reason });
                }
                (copy, Some(workspace))
            }
        };
        let members = list(&path).map_err(|error| unread(&what, error))?;
        Ok(Archive::Tar { path, members, _copy: copy })
    }

    fn find(&self, name: &str) -> Option<Part> {
        match self {
            Archive::Directory(root) => {
                // Names are ours or digests; `manifest.json` may bring others.
                let plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
                let path = plain.then(|| root.join(name))?;
                let length = std::fs::metadata(&path).ok().filter(|m| m.is_file())?.len();
                Some(Part { path, offset: 0, length })
            }
            Archive::Tar { path, members, .. } => {
                let mut name = name.as_bytes().to_vec();
                for _ in 0..LINKS_MAX {
                    match members.get(&name)? {
                        Member::Data { offset, length } => {
                            return Some(Part { path: path.clone(), offset: *offset, length: *length });
                        }
                        Member::Link(target) => name.clone_from(target),
                    }
                }
                None
            }
        }
    }

    fn read(&self, name: &str, most: u64, what: &str) -> Result<Vec<u8>, PullError> {
        let part = self.find(name).ok_or_else(|| damaged(what, format!("{name} is not in it")))?;
        if part.length > most {
            let reason = format!("{name} has {} bytes, the limit is {most}", part.length);
            return Err(PullError::Refused { what: what.to_owned(), reason });
        }
        let mut bytes = Vec::new();
        let mut read = || {
            let mut file = File::open(&part.path)?;
            file.seek(SeekFrom::Start(part.offset))?;
            file.take(part.length).read_to_end(&mut bytes)
        };
        read().map_err(|error| unread(what, error))?;
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest, most: u64, what: &str) -> Result<Vec<u8>, PullError> {
        let name = blob_name(digest);
        let bytes = self.read(&name, most, what)?;
        if digest.names(&bytes) {
            return Ok(bytes);
        }
        let (wanted, got) = (digest.clone(), Digest::of(&bytes));
        Err(PullError::Corrupt { what: format!("{what}: {name}"), wanted, got })
    }

    fn contents(&self, store: &Store, what: &str) -> Result<Vec<Content>, PullError> {
        // `docker save` writes both since version 25; its own list has the better names.
        if self.find("manifest.json").is_some() {
            return self.saved(store, what);
        }
        if self.find("index.json").is_none() {
            return Err(damaged(what, "it holds neither index.json nor manifest.json".to_owned()));
        }
        let limits = &store.inner.options.limits;
        let index = self.read("index.json", limits.manifest_bytes, what)?;
        let unsupported = |reason| PullError::Unsupported { reference: what.to_owned(), reason };
        let Manifest::Index { manifests } = Manifest::parse(&index).map_err(unsupported)? else {
            return Err(damaged(what, "index.json is no index".to_owned()));
        };
        let platform = &store.inner.options.platform;
        // One image for each name; of several for one name, the one that fits best.
        let mut names: Vec<Option<String>> = manifests.iter().map(name).collect();
        names.sort();
        names.dedup();
        let mut contents = Vec::new();
        for wanted in names {
            let members: Vec<Descriptor> = manifests.iter().filter(|m| name(m) == wanted).cloned().collect();
            let chosen = Manifest::choose(&members, platform).map_err(unsupported)?;
            contents.push(self.layout(store, what, chosen, wanted)?);
        }
        Ok(contents)
    }

    /// An image of an OCI layout.
    fn layout(
        &self,
        store: &Store,
        what: &str,
        top: &Descriptor,
        name: Option<String>,
    ) -> Result<Content, PullError> {
        let options = &store.inner.options;
        let unsupported = |reason| PullError::Unsupported { reference: what.to_owned(), reason };
        let mut digest = top.digest.clone();
        for _ in 0..=options.limits.index_depth {
            let json = self.blob(&digest, options.limits.manifest_bytes, what)?;
            let (config, layers) = match Manifest::parse(&json).map_err(unsupported)? {
                Manifest::Image { config, layers } => (config, layers),
                Manifest::Index { manifests } => {
                    digest =
                        Manifest::choose(&manifests, &options.platform).map_err(unsupported)?.digest.clone();
                    continue;
                }
            };
            let layers = layers
                .into_iter()
                .map(|layer| self.layer(&blob_name(&layer.digest), Some(layer.digest), what));
            let reference = name.as_deref().and_then(|name| name.parse::<Reference>().ok());
            return Ok(Content {
                what: what.to_owned(),
                manifest: digest,
                manifest_json: json,
                config_json: self.blob(&config.digest, options.limits.config_bytes, what)?,
                id: config.digest,
                layers: layers.collect::<Result<_, _>>()?,
                tags: reference.iter().filter_map(Reference::tagged).collect(),
                digests: reference.iter().map(|reference| reference.with_digest(&top.digest)).collect(),
            });
        }
        Err(PullError::Refused { what: what.to_owned(), reason: "indexes nested too deeply".to_owned() })
    }

    /// The images of `docker save`.
    fn saved(&self, store: &Store, what: &str) -> Result<Vec<Content>, PullError> {
        let limits = &store.inner.options.limits;
        let json = self.read("manifest.json", limits.manifest_bytes, what)?;
        let list: Vec<Saved> = serde_json::from_slice(&json).map_err(|e| damaged(what, e.to_string()))?;
        let mut contents = Vec::new();
        for saved in list {
            let config_json = self.read(&saved.config, limits.config_bytes, what)?;
            let layers = saved.layers.iter().map(|name| self.layer(name, None, what));
            let mut tags = Vec::new();
            for tag in saved.repo_tags.iter().flatten() {
                tags.extend(tag.parse::<Reference>()?.tagged());
            }
            contents.push(Content {
                what: what.to_owned(),
                manifest: Digest::of(&json),
                manifest_json: json.clone(),
                id: Digest::of(&config_json),
                config_json,
                layers: layers.collect::<Result<_, _>>()?,
                tags,
                digests: Vec::new(),
            });
        }
        Ok(contents)
    }

    fn layer(&self, name: &str, digest: Option<Digest>, what: &str) -> Result<Layer, PullError> {
        let part = self.find(name).ok_or_else(|| damaged(what, format!("{name} is not in it")))?;
        Ok(Layer { digest, size: part.length, source: Source::File { path: part.path, offset: part.offset } })
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// The full name that an index gives a member. A bare tag names no repository.
fn name(member: &Descriptor) -> Option<String> {
    let annotations = member.annotations.as_ref()?;
    let named = NAME_ANNOTATIONS.iter().filter_map(|key| annotations.get(*key));
    named.filter(|name| name.contains(['/', ':'])).map(String::to_owned).next()
}

/// Every file of a tar archive.
fn list(path: &Path) -> io::Result<HashMap<Vec<u8>, Member>> {
    let mut members = HashMap::new();
    layer::walk(File::open(path)?, |entry, offset| {
        let plain = |bytes: &[u8], base: &[u8]| -> Vec<u8> {
            let mut parts: Vec<&[u8]> = base.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
            for part in bytes.split(|b| *b == b'/') {
                match part {
                    b"" | b"." => {}
                    b".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            parts.join(&b'/')
        };
        let name = plain(&entry.path, b"");
        let folder: &[u8] = name.iter().rposition(|b| *b == b'/').map_or(b"", |slash| &name[..slash]);
        let member = match entry.kind {
            layer::Kind::File if entry.sparse.is_none() => Member::Data { offset, length: entry.size },
            layer::Kind::Symlink => Member::Link(plain(&entry.target, folder)),
            layer::Kind::HardLink => Member::Link(plain(&entry.target, b"")),
            _ => return Ok(()),
        };
        if members.len() >= MEMBERS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the archive has too many members"));
        }
        members.insert(name, member);
        Ok(())
    })?;
    Ok(members)
}

fn unread(what: &str, error: io::Error) -> PullError {
    match Fault::read(error) {
        Fault::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            PullError::NoSpace { what: what.to_owned() }
        }
        Fault::Io { source, .. } => {
            PullError::Io { what: "reading an image archive".to_owned(), path: PathBuf::from(what), source }
        }
        other => damaged(what, other.to_string()),
    }
}

fn damaged(what: &str, reason: String) -> PullError {
    PullError::Damaged { what: what.to_owned(), reason }
}
