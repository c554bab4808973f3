//! `<registries>/<host>/hosts.toml`: who serves a registry, in which order, and how they are trusted.
//!
//! The form is containerd's, so files can be shared. For `quay.io:8443` the folders `quay.io_8443_`,
//! `quay.io:8443` and `_default` are looked at; the first one counts.
//!
//! Reference: containerd docs/hosts.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::reference::DEFAULT_REGISTRY;

/// Docker Hub's registry listens under another name than its references use.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// Hosts files are short.
const LONGEST_FILE: u64 = 1 << 20;

/// One server that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub secure: bool,
    /// Host name or address without brackets.
    pub name: String,
    pub port: u16,
    /// `/v2` or what the file says, without a slash at the end.
    pub path: String,
    /// May turn tags into digests.
    pub resolves: bool,
    /// May serve content by digest.
    pub pulls: bool,
    /// May be given content.
    pub pushes: bool,
    pub trust: Trust,
    /// Sent with every request to this host.
    pub headers: Vec<(String, String)>,
    /// The registry that the reference names itself: only it sees credentials, and no `?ns=`.
    pub upstream: bool,
}

/// How a host's certificate is judged, and what it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Added to the system's authorities.
    pub authorities: Vec<PathBuf>,
    /// Certificate and key; one file may hold both.
    pub client: Option<(PathBuf, PathBuf)>,
    pub skip_verify: bool,
}

/// Why a hosts file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}")]
    Wrong { path: PathBuf, reason: String },
}

// === impl Host ===

impl Host {
    /// As URLs and errors show it; default ports are left out.
    #[must_use]
    pub fn authority(&self) -> String {
        super::connect::Endpoint::from(self).authority()
    }

    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// The servers of a registry in the order they are asked.
///
/// # Errors
/// When its hosts file cannot be read or is wrong.
pub fn hosts(registries: &Path, registry: &str) -> Result<Vec<Host>, HostsError> {
    let upstream = upstream(registry);
    for folder in [registry.replace(':', "_") + "_", registry.to_owned(), "_default".to_owned()] {
        // `quay.io_` is only meant for names with ports.
        if folder.ends_with('_') && !registry.contains(':') {
            continue;
        }
        let folder = registries.join(folder);
        let path = folder.join("hosts.toml");
        match read(&path) {
            Ok(text) => {
                return parse(&text, &folder, &upstream).map_err(|reason| HostsError::Wrong { path, reason });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(HostsError::Read { path, source }),
        }
    }
    Ok(vec![upstream])
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LONGEST_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The registry under its own name: HTTPS, except on this machine.
fn upstream(registry: &str) -> Host {
    let name = if registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_HOST } else { registry };
    let (host, port) = split_port(name);
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback());
    let secure = !local || port == Some(443);
    Host {
        secure,
        name: host.to_ascii_lowercase(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        path: "/v2".to_owned(),
        resolves: true,
        pulls: true,
        pushes: true,
        trust: Trust::default(),
        headers: Vec::new(),
        upstream: true,
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::map::Map<String, toml::Value>,
    #[serde(flatten)]
    rest: Settings,
}

/// What can be said of the server and of each host.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: bool,
    header: BTreeMap<String, OneOrMore>,
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn parse(text: &str, folder: &Path, upstream: &Host) -> Result<Vec<Host>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut hosts = Vec::new();
    for (url, settings) in file.host {
        let settings: Settings = settings.try_into().map_err(|error| format!("host {url:?}: {error}"))?;
        hosts.push(host(&url, settings, folder, upstream)?);
    }
    let last = match file.server.filter(|server| !server.is_empty()) {
        Some(server) => host(&server, file.rest, folder, upstream)?,
        None => {
            host(&format!("{}://{}", upstream.scheme(), upstream.authority()), file.rest, folder, upstream)?
        }
    };
    hosts.push(last);
    Ok(hosts)
}

fn host(url: &str, settings: Settings, folder: &Path, upstream: &Host) -> Result<Host, String> {
    let given = url;
    let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let uri: http::Uri = url.parse().map_err(|_| format!("{given:?} is not a URL"))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("{given:?}: only http:// and https:// can be asked")),
    };
    let authority = uri.authority().ok_or_else(|| format!("{given:?} names no host"))?;
    if authority.as_str().contains('@') {
        return Err(format!("{given:?}: credentials do not belong into a URL"));
    }
    let (name, port) = split_port(authority.as_str());
    let path = uri.path().trim_end_matches('/');
    let path =
        if settings.override_path || path.ends_with("/v2") { path.to_owned() } else { format!("{path}/v2") };
    let can = |what: &str| settings.capabilities.as_ref().is_none_or(|list| list.iter().any(|c| c == what));
    let mut host = Host {
        secure,
        name: name.to_ascii_lowercase(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        path,
        resolves: can("resolve"),
        pulls: can("pull"),
        pushes: can("push"),
        trust: Trust {
            authorities: all(settings.ca).iter().map(|path| folder.join(path)).collect(),
            client: client(settings.client, folder)?,
            skip_verify: settings.skip_verify,
        },
        headers: Vec::new(),
        upstream: false,
    };
    for (name, values) in settings.header {
        host.headers.extend(all(Some(values)).into_iter().map(|value| (name.clone(), value)));
    }
    // What the file says about the registry itself, under the registry's own name.
    host.upstream = (&host.name, host.port) == (&upstream.name, upstream.port);
    Ok(host)
}

fn all(values: Option<OneOrMore>) -> Vec<String> {
    match values {
        None => Vec::new(),
        Some(OneOrMore::One(value)) => vec![value],
        Some(OneOrMore::More(values)) => values,
    }
}

/// `"both.pem"`, `["cert.pem", "key.pem"]` or `[["cert.pem", "key.pem"]]`; the first pair counts.
fn client(value: Option<toml::Value>, folder: &Path) -> Result<Option<(PathBuf, PathBuf)>, String> {
    use toml::Value::{Array, String as Text};
    let wrong = || "client: wanted a file, or a pair of certificate and key".to_owned();
    match value {
        None => Ok(None),
        Some(Text(both)) => Ok(Some((folder.join(&both), folder.join(&both)))),
        Some(Array(list)) => match list.as_slice() {
            [Text(certificate), Text(key)] => Ok(Some((folder.join(certificate), folder.join(key)))),
            [inner, ..] => client(Some(inner.clone()), folder),
            [] => Ok(None),
        },
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hosts: &[Host]) -> Vec<String> {
        let show = |h: &Host| {
            let marks = [
                (h.resolves, "resolve"),
                (h.pulls, "pull"),
                (h.upstream, "upstream"),
                (h.trust.skip_verify, "skip"),
            ];
            let marks: Vec<&str> = marks.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            format!("{}://{}{} {}", h.scheme(), h.authority(), h.path, marks.join(","))
        };
        hosts.iter().map(show).collect()
    }

    #[test]
    fn registries_without_a_file_are_asked_themselves() {
        let nowhere = Path::new("/nonexistent");
        for (registry, wanted) in [
            ("docker.io", "https://registry-1.docker.io/v2 resolve,pull,upstream"),
            ("quay.io", "https://quay.io/v2 resolve,pull,upstream"),
            ("quay.io:8443", "https://quay.io:8443/v2 resolve,pull,upstream"),
            ("localhost:5000", "http://localhost:5000/v2 resolve,pull,upstream"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2 resolve,pull,upstream"),
            ("[::1]:5000", "http://[::1]:5000/v2 resolve,pull,upstream"),
            ("127.0.0.1:443", "https://127.0.0.1/v2 resolve,pull,upstream"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2 resolve,pull,upstream"),
        ] {
            assert_eq!(shown(&hosts(nowhere, registry).unwrap()), [wanted], "{registry}");
        }
    }

    #[test]
    fn files_are_read_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("hosts.toml"), text).unwrap();
        };
        write(
            "docker.io",
            r#"
            server = "https://registry-1.docker.io"
            [host."https://zebra.example"]
              capabilities = ["pull", "resolve"]
              ca = "zebra.crt"
              client = [["c.pem", "k.pem"]]
              [host."https://zebra.example".header]
                x-one = "1"
                x-two = ["2", "3"]
            [host."http://ant.example:5000/proxy/v2/"]
              capabilities = ["pull"]
              override_path = true
            [host."bee.example/hub"]
              skip_verify = true
            "#,
        );
        write("quay.io_8443_", "server = 'http://10.0.0.1'\n");
        write("_default", "[host.'https://cache.example']\n");
        let found = hosts(folder.path(), "docker.io").unwrap();
        assert_eq!(
            shown(&found),
            [
                "https://zebra.example/v2 resolve,pull",
                "http://ant.example:5000/proxy/v2 pull",
                "https://bee.example/hub/v2 resolve,pull,skip",
                "https://registry-1.docker.io/v2 resolve,pull,upstream",
            ]
        );
        assert_eq!(found[0].headers.len(), 3);
        assert_eq!(found[0].trust.authorities, [folder.path().join("docker.io/zebra.crt")]);
        assert!(found[0].trust.client.is_some());
        assert_eq!(
            shown(&hosts(folder.path(), "quay.io:8443").unwrap()),
            ["http://10.0.0.1/v2 resolve,pull"]
        );
        assert_eq!(
            shown(&hosts(folder.path(), "gcr.io").unwrap()),
            ["https://cache.example/v2 resolve,pull", "https://gcr.io/v2 resolve,pull,upstream"]
        );
    }

    #[test]
    fn wrong_files_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("x.io")).unwrap();
        for (text, wanted) in [
            ("server = ", "hosts.toml"),
            ("server = 'ftp://x'", "only http:// and https://"),
            ("server = 'https://user:word@x'", "credentials"),
            ("[host.'https://']", "not a URL"),
            ("[host.'https://a']\nclient = 1", "client"),
            ("[host.'https://a']\nskip_verify = 'yes'", "skip_verify"),
        ] {
            std::fs::write(folder.path().join("x.io/hosts.toml"), text).unwrap();
            let said = hosts(folder.path(), "x.io").unwrap_err().to_string();
            assert!(said.contains(wanted) && said.contains("x.io/hosts.toml"), "{text}: {said}");
        }
    }
}
