//! Pulling: reference -> manifest -> configuration and layers -> store.
//!
//! Hosts are asked in their order. One that does not have it, does not answer, or sends something else
//! than the digest says is passed over; the error tells what each of them said.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::ImageConfig;
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::follow::Follow;
use crate::image::ImageId;
use crate::ingest::{self, Content, Layer, Source};
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};
use crate::registry::blob::BlobError;
use crate::registry::client::{self, Ask, AskError, Repository};
use crate::registry::manifest::{self, Descriptor, Manifest};
use crate::store::{Store, StoreError};

/// Why an image is not in the store after a pull or an import.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No host has it. `tried` says what each of them answered.
    #[error("{reference}: not found: {tried}")]
    NotFound { reference: String, tried: String },
    /// A host knows the caller too little or not at all.
    #[error("{reference}: access denied: {tried}")]
    Denied { reference: String, tried: String },
    /// No host answered as a registry should.
    #[error("{reference}: no registry host could serve it: {tried}")]
    Unreachable { reference: String, tried: String },
    /// Bytes are not what their name says.
    #[error("{what}: content is {got}, wanted {wanted}")]
    Corrupt { what: String, wanted: Digest, got: Digest },
    #[error("{what}: {got} bytes where the manifest says {wanted}")]
    Size { what: String, wanted: u64, got: u64 },
    /// Something real that this runtime does not take.
    #[error("{reference}: {reason}")]
    Unsupported { reference: String, reason: String },
    /// More than a limit allows, or an entry that no honest layer holds.
    #[error("{what}: refused: {reason}")]
    Refused { what: String, reason: String },
    /// Not the archive or document it should be.
    #[error("{what}: damaged: {reason}")]
    Damaged { what: String, reason: String },
    /// The disk is full, or would be.
    #[error("{what}: no space left on the disk")]
    NoSpace { what: String },
    #[error("{what}: {}", .path.display())]
    Io {
        what: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A hosts file is wrong.
    #[error("{0}")]
    Hosts(#[from] crate::registry::hosts::HostsError),
    #[error(transparent)]
    Store(StoreError),
    /// The process is stopping, or nobody wants it any more.
    #[error("{0}: given up")]
    Stopped(String),
}

impl From<StoreError> for PullError {
    fn from(error: StoreError) -> PullError {
        match error {
            StoreError::Io { path, source }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                PullError::NoSpace { what: path.display().to_string() }
            }
            other => PullError::Store(other),
        }
    }
}

/// One pull.
struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    shown: String,
    repository: Arc<Repository>,
}

pub(crate) async fn pull(
    store: &Store,
    reference: &Reference,
    credentials: Option<Credentials>,
    follow: Follow,
) -> Result<ImageId, PullError> {
    let repository = Repository::open(&store.inner.options.registries_dir, reference, credentials)?;
    let pull = Pull { store, reference, shown: reference.to_string(), repository: Arc::new(repository) };
    let content = tokio::select! {
        content = pull.content() => content?,
        () = follow.stopped() => return Err(PullError::Stopped(pull.shown)),
    };
    ingest::ingest(store, content, follow).await
}

// === impl Pull ===

impl Pull<'_> {
    /// The parts of the image, and where its layers are.
    async fn content(&self) -> Result<Content, PullError> {
        let limits = &self.store.inner.options.limits;
        let (top, json) = self.manifest(self.reference.asked(), self.reference.digest(), None).await?;
        let (manifest, manifest_json, config, layers) = self.image(top.clone(), json).await?;
        self.check_size("the configuration", config.size, limits.config_bytes)?;
        let what = format!("blobs/{}", config.digest);
        let config_json = self.whole(&what, "*/*", Some(&config.digest), limits.config_bytes).await?.1;
        let digests = vec![self.reference.with_digest(&top)];
        let layers = layers.into_iter().map(|layer| Layer {
            digest: Some(layer.digest.clone()),
            size: layer.size,
            source: Source::Blob { repository: self.repository.clone(), digest: layer.digest },
        });
        Ok(Content {
            what: self.shown.clone(),
            manifest,
            manifest_json: manifest_json.to_vec(),
            id: config.digest,
            config_json: config_json.to_vec(),
            layers: layers.collect(),
            tags: self.reference.tagged().into_iter().collect(),
            digests,
        })
    }

    /// Goes down from an index to the image for this platform.
    async fn image(
        &self,
        mut digest: Digest,
        mut json: Bytes,
    ) -> Result<(Digest, Bytes, Descriptor, Vec<Descriptor>), PullError> {
        let options = &self.store.inner.options;
        for _ in 0..=options.limits.index_depth {
            match Manifest::parse(&json).map_err(|reason| self.unsupported(reason))? {
                Manifest::Image { config, layers } => return Ok((digest, json, config, layers)),
                Manifest::Index { manifests } => {
                    let chosen = Manifest::choose(&manifests, &options.platform);
                    let chosen = chosen.map_err(|reason| self.unsupported(reason))?;
                    let name = chosen.digest.to_string();
                    (digest, json) = self.manifest(&name, Some(&chosen.digest), Some(chosen.size)).await?;
                }
            }
        }
        Err(PullError::Refused { what: self.shown.clone(), reason: "indexes nested too deeply".to_owned() })
    }

    async fn manifest(
        &self,
        name: &str,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<(Digest, Bytes), PullError> {
        let most = self.store.inner.options.limits.manifest_bytes;
        self.check_size("the manifest", size.unwrap_or(0), most)?;
        self.whole(&format!("manifests/{name}"), manifest::ACCEPT, digest, most).await
    }

    /// A small document from the first host that has it as wanted.
    async fn whole(
        &self,
        what: &str,
        accept: &str,
        wanted: Option<&Digest>,
        most: u64,
    ) -> Result<(Digest, Bytes), PullError> {
        let mut attempts = Vec::new();
        let mut corrupt = None;
        for (index, host) in self.repository.hosts().iter().enumerate() {
            if !(if wanted.is_some() { host.pulls } else { host.resolves }) {
                continue;
            }
            let answer = match self.repository.ask(index, Ask { what, accept, from: 0 }).await {
                Ok(response) => client::body(response, usize::try_from(most).unwrap_or(usize::MAX)).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(body) => {
                    let got = wanted.map_or_else(|| Digest::of(&body), |wanted| digest_like(wanted, &body));
                    match wanted.filter(|wanted| **wanted != got) {
                        None => return Ok((got, body)),
                        Some(wanted) => {
                            let what = format!("{}: {what} from {}", self.shown, host.authority());
                            corrupt = Some(PullError::Corrupt { what, wanted: wanted.clone(), got });
                        }
                    }
                }
                Err(error) => attempts.push((host.authority(), error)),
            }
        }
        Err(corrupt.unwrap_or_else(|| failed(&self.shown, attempts)))
    }

    fn check_size(&self, what: &str, size: u64, most: u64) -> Result<(), PullError> {
        if size <= most {
            return Ok(());
        }
        let reason = format!("{what} has {size} bytes, the limit is {most}");
        Err(PullError::Refused { what: self.shown.clone(), reason })
    }

    fn unsupported(&self, reason: String) -> PullError {
        PullError::Unsupported { reference: self.shown.clone(), reason }
    }
}

/// What the hosts' answers mean together.
pub(crate) fn failed(reference: &str, attempts: Vec<(String, AskError)>) -> PullError {
    let reference = reference.to_owned();
    let all_missing = !attempts.is_empty() && attempts.iter().all(|(_, e)| matches!(e, AskError::NotFound));
    // The registry itself is asked last; what a mirror does not tell us is not our business.
    let denied = attempts.last().is_some_and(|(_, e)| matches!(e, AskError::Denied(_)));
    let mut tried: Vec<String> = attempts.iter().map(|(host, error)| format!("{host}: {error}")).collect();
    tried.dedup();
    let tried = if tried.is_empty() { "no host may be asked".to_owned() } else { tried.join("; ") };
    match (all_missing, denied) {
        (true, _) => PullError::NotFound { reference, tried },
        (_, true) => PullError::Denied { reference, tried },
        _ => PullError::Unreachable { reference, tried },
    }
}

pub(crate) fn blob_failed(reference: &str, error: BlobError) -> PullError {
    failed(reference, error.attempts)
}

/// Whether a configuration is for this platform. Old images say nothing.
pub(crate) fn fits(config: &ImageConfig, host: &Platform) -> Result<(), String> {
    if config.architecture.is_empty() || config.os.is_empty() {
        return Ok(());
    }
    let image = Platform::new(&config.os, &config.architecture, &config.variant);
    // Builders are careless with variants of single images.
    let plain = Platform::new(&config.os, &config.architecture, &host.variant);
    match host.distance(&image).or_else(|| host.distance(&plain)) {
        Some(_) => Ok(()),
        None => Err(format!("the image is for {image}, this node is {host}")),
    }
}

fn digest_like(wanted: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = wanted.hasher();
    hasher.update(bytes);
    hasher.finish()
}
