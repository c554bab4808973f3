//! kubeconfig files, read: where the API is, whom to trust, who one is.
//!
//! Not exec plugins, auth providers or proxies: a part of a cluster has a certificate or a token.
//!
//! Reference: client-go's `api/v1` Config.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

/// What a client needs to know. Holds secrets: not printable.
#[derive(Clone)]
pub struct Config {
    /// Host of the server: an address or a name.
    pub host: String,
    pub port: u16,
    /// The authorities that the server's certificate may come from.
    pub authorities: Vec<CertificateDer<'static>>,
    pub(crate) identity: Identity,
    /// Namespace of the current context.
    pub namespace: String,
}

/// How the client says who it is.
#[derive(Clone)]
pub(crate) enum Identity {
    Anonymous,
    Certificate {
        chain: Vec<CertificateDer<'static>>,
        key: std::sync::Arc<PrivateKeyDer<'static>>,
    },
    /// Files that are replaced before the certificate ends; read at every dial.
    Files {
        chain: PathBuf,
        key: PathBuf,
    },
    Token(String),
    TokenFile(PathBuf),
}

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: String },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: String,
    #[serde(rename = "client-certificate-data")]
    certificate_data: String,
    #[serde(rename = "client-key")]
    key: String,
    #[serde(rename = "client-key-data")]
    key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
}

impl Config {
    /// Reads a kubeconfig; relative paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        parse(path, &text)
    }

    /// The authorities as PEM.
    pub fn authorities_pem(&self) -> String {
        let mut pem = String::new();
        for authority in &self.authorities {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let text = STANDARD.encode(authority);
            for line in text.as_bytes().chunks(64) {
                pem.push_str(&String::from_utf8_lossy(line));
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem
    }

    /// A server that is known by its address and by who may vouch for it.
    pub fn of_server(server: &str, authorities: Vec<CertificateDer<'static>>) -> Result<Config, ConfigError> {
        let path = PathBuf::from("--server");
        let (host, port) = address(server).ok_or_else(|| ConfigError::Content {
            path,
            why: format!("{server:?}: a URL such as https://10.0.0.1:6443 is wanted"),
        })?;
        Ok(Config { host, port, authorities, identity: Identity::Anonymous, namespace: String::new() })
    }

    /// The same server, for which others vouch.
    pub fn trusting(&self, authorities: Vec<CertificateDer<'static>>) -> Config {
        Config { authorities, ..self.clone() }
    }

    /// The same server, asked with a token.
    pub fn with_token(&self, token: String) -> Config {
        Config { identity: Identity::Token(token), ..self.clone() }
    }

    /// The same server, asked without saying who.
    pub(crate) fn anonymous(&self) -> Config {
        Config { identity: Identity::Anonymous, ..self.clone() }
    }
}

fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let wrong = |why: String| ConfigError::Content { path: path.into(), why };
    let file: File = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let context = file
        .contexts
        .iter()
        .find(|context| context.name == file.current_context)
        .map(|context| &context.context)
        .ok_or_else(|| {
            wrong(format!("current-context {:?} is not among the contexts", file.current_context))
        })?;
    let cluster = file
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster)
        .map(|cluster| &cluster.cluster)
        .ok_or_else(|| wrong(format!("cluster {:?} is not among the clusters", context.cluster)))?;
    let (host, port) = address(&cluster.server).ok_or_else(|| {
        wrong(format!("server {:?}: a URL such as https://10.0.0.1:6443 is wanted", cluster.server))
    })?;
    let pem = material(path, &cluster.certificate_authority, &cluster.certificate_authority_data)?
        .unwrap_or_default();
    let authorities: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("certificate-authority: {error}")))?;
    if authorities.is_empty() {
        return Err(wrong("the cluster names no certificate-authority".into()));
    }
    let identity = match file.users.iter().find(|user| user.name == context.user) {
        Some(user) => identity(path, &user.user)?,
        None => return Err(wrong(format!("user {:?} is not among the users", context.user))),
    };
    Ok(Config { host, port, authorities, identity, namespace: context.namespace.clone() })
}

fn identity(path: &Path, user: &User) -> Result<Identity, ConfigError> {
    let wrong = |why: String| ConfigError::Content { path: path.into(), why };
    let in_files = |file: &str, data: &str| !file.is_empty() && data.is_empty();
    if in_files(&user.certificate, &user.certificate_data) && in_files(&user.key, &user.key_data) {
        let files = (beside(path, &user.certificate), beside(path, &user.key));
        // Now, so that a wrong file is told at the start.
        read_pair(&files.0, &files.1)?;
        return Ok(Identity::Files { chain: files.0, key: files.1 });
    }
    if let Some(chain) = material(path, &user.certificate, &user.certificate_data)? {
        let key = material(path, &user.key, &user.key_data)?
            .ok_or_else(|| wrong("a client-certificate without its client-key".into()))?;
        let chain = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("client-certificate: {error}")))?;
        let key =
            PrivateKeyDer::from_pem_slice(&key).map_err(|error| wrong(format!("client-key: {error}")))?;
        return Ok(Identity::Certificate { chain, key: key.into() });
    }
    Ok(match (user.token.as_str(), user.token_file.as_str()) {
        ("", "") => Identity::Anonymous,
        // As client-go: the file wins.
        (token, "") => Identity::Token(token.to_owned()),
        (_, file) => Identity::TokenFile(beside(path, file)),
    })
}

/// The certificates and the key in two files, or in one.
pub(crate) fn read_pair(
    chain: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|source| ConfigError::Read { path: path.into(), source });
    let wrong = |path: &Path, what: &str, error: rustls_pki_types::pem::Error| ConfigError::Content {
        path: path.into(),
        why: format!("{what}: {error}"),
    };
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(chain, "client-certificate", error))?;
    let private =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, "client-key", error))?;
    Ok((certificates, private))
}

/// PEM from the data field, else from the file.
fn material(path: &Path, file: &str, data: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    if !data.is_empty() {
        let joined: String = data.split_whitespace().collect();
        let bytes = STANDARD.decode(joined).map_err(|error| ConfigError::Content {
            path: path.into(),
            why: format!("base64 data: {error}"),
        })?;
        return Ok(Some(bytes));
    }
    if file.is_empty() {
        return Ok(None);
    }
    let file = beside(path, file);
    std::fs::read(&file).map(Some).map_err(|source| ConfigError::Read { path: file, source })
}

fn beside(path: &Path, file: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(file)
}

/// Host and port of an https URL; IPv6 without its brackets.
fn address(server: &str) -> Option<(String, u16)> {
    let rest = server.strip_prefix("https://")?.trim_end_matches('/');
    if rest.contains('/') {
        return None;
    }
    let authority: http::uri::Authority = rest.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, authority.port_u16().unwrap_or(443)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (server, expect) in [
            ("https://127.0.0.1:6443", Some(("127.0.0.1", 6443))),
            ("https://[::1]:6443/", Some(("::1", 6443))),
            ("https://localhost", Some(("localhost", 443))),
            ("http://127.0.0.1", None),
            ("https://a/b", None),
        ] {
            assert_eq!(address(server), expect.map(|(host, port)| (host.to_owned(), port)), "{server}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = "current-context: a\ncontexts: [{name: b}]\n";
        let error = parse(Path::new("/x/y"), text).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("/x/y: current-context \"a\" is not among the contexts"));
    }
}
