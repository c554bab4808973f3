//! The folder of keys and certificates, and what is missing in it.
//!
//! ```text
//! ca.crt ca.key                                    the cluster's authority
//! front-proxy-ca.crt .key  front-proxy-client.crt .key    for aggregated API servers
//! sa.key                                           ServiceAccount tokens; one PEM block per key, newest first
//! apiserver.crt .key                               the API's serving certificate
//! apiserver-kubelet-client.crt .key                who the API is to kubelets
//! encryption.yaml                                  keys that secrets are stored with: an EncryptionConfiguration
//! peer-ca.crt .key  peer.crt .key                  members of the store to each other
//! ```
//!
//! What exists is kept, so a restart changes nothing; a serving certificate is renewed when it no longer
//! names what it must or two thirds of its life are over.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Authority, Certificate, PkiError, Profile, TokenKey, Usage, atomic_file};

/// A serving certificate's life: one year, renewed after two thirds.
pub(crate) const SERVING_SECONDS: i64 = 365 * 86_400;
pub(crate) const SECRET: u32 = 0o600;
pub(crate) const PUBLIC: u32 = 0o644;

/// The name in every peer's certificate: the authority alone decides who is one.
pub const PEER_NAME: &str = "peer.keelson";

/// What keeps the folder from being complete.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key or certificate is not what it should be.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// What the folder must hold.
#[derive(Clone, Debug)]
pub struct FolderRequest {
    /// Names and addresses in the API's serving certificate.
    pub serving_names: Vec<String>,
    /// Seconds since 1970.
    pub now: i64,
}

/// The folder's content.
#[derive(Debug)]
pub struct Folder {
    /// Signs users, nodes and serving certificates.
    pub cluster: Authority,
    /// Signs the front proxy's client certificate.
    pub front_proxy: Authority,
    /// What the API presents to aggregated servers.
    pub front_proxy_client: Certificate,
    /// What the API presents to kubelets.
    pub kubelet_client: Certificate,
    /// What the API presents to its clients.
    pub serving: Certificate,
    /// Signs members of the store.
    pub peer_authority: Authority,
    /// What this server's member of the store presents to others.
    pub peer: Certificate,
    /// ServiceAccount keys, the signing one first.
    pub token_keys: Vec<TokenKey>,
}

impl Folder {
    /// Reads the folder and makes what is missing.
    pub fn ensure(path: &Path, request: &FolderRequest) -> Result<Folder, FolderError> {
        create_private(path)?;
        let at = |name: &str| path.join(name);
        let cluster = authority(&at("ca.crt"), &at("ca.key"), "keelson-ca", request.now)?;
        let front_proxy = authority(
            &at("front-proxy-ca.crt"),
            &at("front-proxy-ca.key"),
            "keelson-front-proxy-ca",
            request.now,
        )?;
        let client = Profile {
            common_name: "front-proxy-client".into(),
            organization: None,
            names: vec![],
            usage: Usage::Client,
            lifetime_seconds: SERVING_SECONDS,
        };
        let files = (at("front-proxy-client.crt"), at("front-proxy-client.key"));
        let front_proxy_client = certificate((&files.0, &files.1), &front_proxy, &client, request.now)?;
        let to_kubelets = Profile {
            common_name: "kube-apiserver-kubelet-client".into(),
            organization: Some("system:masters".into()),
            ..client.clone()
        };
        let files = (at("apiserver-kubelet-client.crt"), at("apiserver-kubelet-client.key"));
        let kubelet_client = certificate((&files.0, &files.1), &cluster, &to_kubelets, request.now)?;
        let server = Profile {
            common_name: "kube-apiserver".into(),
            names: request.serving_names.clone(),
            usage: Usage::Server,
            ..client.clone()
        };
        let files = (at("apiserver.crt"), at("apiserver.key"));
        let serving = certificate((&files.0, &files.1), &cluster, &server, request.now)?;
        let peer_authority =
            authority(&at("peer-ca.crt"), &at("peer-ca.key"), "keelson-peer-ca", request.now)?;
        let member = Profile {
            common_name: "keelson-store".into(),
            names: vec![PEER_NAME.into()],
            usage: Usage::Both,
            ..client
        };
        let files = (at("peer.crt"), at("peer.key"));
        let peer = certificate((&files.0, &files.1), &peer_authority, &member, request.now)?;
        let token_keys = token_keys(&at("sa.key"))?;
        encryption(&at(ENCRYPTION_FILE))?;
        Ok(Folder {
            cluster,
            front_proxy,
            front_proxy_client,
            kubelet_client,
            serving,
            peer_authority,
            peer,
            token_keys,
        })
    }
}

/// The keys that secrets are stored with, in the folder.
pub const ENCRYPTION_FILE: &str = "encryption.yaml";

/// Makes a key for secrets where there is none. Its name is drawn too: two clusters' keys are never taken for each other.
fn encryption(path: &Path) -> Result<(), FolderError> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = [0; 36];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::NoEntropy)?;
    let (name, secret) = bytes.split_at(4);
    let (name, secret) = (hex::encode(name), STANDARD.encode(secret));
    let content = format!(
        "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n  \
         - aesgcm:\n      keys:\n      - name: k{name}\n        secret: {secret}\n  - identity: {{}}\n"
    );
    write(path, &content, SECRET)
}

fn authority(crt: &Path, key: &Path, name: &str, now: i64) -> Result<Authority, FolderError> {
    if let (Some(certificate), Some(private)) = (read(crt)?, read(key)?) {
        return Ok(Authority::from_pem(&crt.display().to_string(), &certificate, &private)?);
    }
    let made = Authority::create(name, now)?;
    // The key first: a certificate without its key would look like an authority that lost it.
    write(key, &made.key_pem(), SECRET)?;
    write(crt, made.certificate_pem(), PUBLIC)?;
    Ok(made)
}

pub(crate) fn certificate(
    (crt, key): (&Path, &Path),
    authority: &Authority,
    profile: &Profile,
    now: i64,
) -> Result<Certificate, FolderError> {
    if let (Some(certificate), Some(private)) = (read(crt)?, read(key)?) {
        let found = Certificate::from_pem(&crt.display().to_string(), certificate, private)?;
        if still_good(&found, &profile.names, now) {
            return Ok(found);
        }
    }
    let made = authority.issue(profile, now)?;
    write(key, made.key_pem(), SECRET)?;
    write(crt, &made.certificate_pem, PUBLIC)?;
    Ok(made)
}

/// Whether a certificate names all of `names` and has a third of its life before it.
fn still_good(certificate: &Certificate, names: &[String], now: i64) -> bool {
    let Ok(chain) = certificate.chain("certificate") else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(&chain[0]) else { return false };
    let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let found = alternative_names(&chain[0]).unwrap_or_default();
    now < end - (end - begin) / 3 && names.iter().all(|name| found.contains(name))
}

/// The names of a server's certificate; nothing where it cannot be read.
pub(crate) fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(match parsed.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(shown).collect(),
        _ => Vec::new(),
    })
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(std::net::Ipv4Addr::from(bytes).to_string()),
            Err(_) => {
                <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
            }
        },
        _ => None,
    }
}

fn token_keys(path: &Path) -> Result<Vec<TokenKey>, FolderError> {
    let Some(content) = read(path)? else {
        let key = TokenKey::create()?;
        write(path, &key.to_pem(), SECRET)?;
        return Ok(vec![key]);
    };
    let broken = || PkiError::Missing { what: path.display().to_string(), wanted: "PRIVATE KEY" };
    let mut keys = Vec::new();
    for block in
        content.split_inclusive("-----END PRIVATE KEY-----").filter(|block| block.contains("-----BEGIN"))
    {
        rustls_pki_types::PrivateKeyDer::from_pem_slice(block.as_bytes()).map_err(|_| broken())?;
        keys.push(TokenKey::from_pem(block.trim())?);
    }
    if keys.is_empty() { Err(broken().into()) } else { Ok(keys) }
}

pub(crate) fn create_private(path: &Path) -> Result<(), FolderError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FolderError::Io { path: path.to_owned(), source })
}

pub(crate) fn read(path: &Path) -> Result<Option<String>, FolderError> {
    match std::fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError::Io { path: path.to_owned(), source }),
    }
}

pub(crate) fn write(path: &Path, content: &str, mode: u32) -> Result<(), FolderError> {
    atomic_file::write(path, content.as_bytes(), mode)
        .map_err(|source| FolderError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW: i64 = 1_800_000_000;

    fn ensure(path: &Path, names: &[&str], now: i64) -> Folder {
        let serving_names = names.iter().map(|name| (*name).to_owned()).collect();
        Folder::ensure(path, &FolderRequest { serving_names, now }).unwrap()
    }

    #[test]
    fn what_exists_is_kept_and_what_is_stale_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki");
        let first = ensure(&path, &["localhost", "127.0.0.1"], NOW);
        let again = ensure(&path, &["127.0.0.1"], NOW + 86_400);
        assert_eq!(first.cluster.certificate_pem(), again.cluster.certificate_pem());
        assert_eq!(first.serving.certificate_pem, again.serving.certificate_pem);
        assert_eq!(first.token_keys[0].id, again.token_keys[0].id);

        let renamed = ensure(&path, &["127.0.0.1", "fd00::1", "node-1"], NOW + 86_400);
        assert_ne!(first.serving.certificate_pem, renamed.serving.certificate_pem);
        let aged = ensure(&path, &["node-1", "fd00::1"], NOW + 300 * 86_400);
        assert_ne!(renamed.serving.certificate_pem, aged.serving.certificate_pem);
        assert_eq!(first.cluster.certificate_pem(), aged.cluster.certificate_pem());
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki");
        ensure(&path, &["localhost"], NOW);
        let mut keys = 0;
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let secret = name.ends_with(".key") || name == ENCRYPTION_FILE;
            assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{name}");
            keys += usize::from(secret);
        }
        assert_eq!(keys, 9);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_token_key_verifies_and_a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let first = ensure(folder.path(), &["localhost"], NOW);
        let newer = TokenKey::create().unwrap();
        let content = format!("{}{}", newer.to_pem(), first.token_keys[0].to_pem());
        std::fs::write(folder.path().join("sa.key"), content).unwrap();
        let both = ensure(folder.path(), &["localhost"], NOW);
        let ids: Vec<&str> = both.token_keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, [newer.id.as_str(), first.token_keys[0].id.as_str()]);

        std::fs::write(folder.path().join("sa.key"), "nothing").unwrap();
        let request = FolderRequest { serving_names: vec![], now: NOW };
        let error = Folder::ensure(folder.path(), &request).unwrap_err().to_string();
        assert!(error.contains("sa.key holds no PRIVATE KEY"), "{error}");
    }
}
