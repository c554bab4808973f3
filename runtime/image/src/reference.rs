//! Image references as people write them: `busybox`, `quay.io/a/b:1`, `host:5000/x@sha256:...`.
//!
//! A [`Reference`] is always complete: the registry is named, Docker Hub's one-part names have their
//! `library/`, and without tag and digest the tag is `latest`. Not here: which hosts serve a registry
//! (`registry/hosts.rs`), and image ids, which are not references.
//!
//! Reference: the grammar of the distribution project ("reference" package documentation) and Docker's
//! rules for short names.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of names that name none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The folder of Docker Hub's names that have none.
const OFFICIAL_FOLDER: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Registry and repository together.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
/// Longer than any valid reference: name, tag, sha512 and their separators.
const LONGEST_INPUT: usize = 1024;

/// A complete image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a string is not an image reference. Every variant holds what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format: the reference is empty")]
    Empty,
    #[error("invalid reference format: longer than {LONGEST_INPUT} bytes")]
    TooLong,
    #[error("invalid reference format: {0:?} is an image id, not a name: name it with repository and tag")]
    IsAnId(String),
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("invalid reference format: repository name must not have more than {LONGEST_NAME} characters")]
    NameTooLong,
    #[error("invalid reference format: registry {0:?} is not a host name with an optional port")]
    Registry(String),
    #[error(
        "invalid reference format: repository {0:?}: each part is lower-case letters and digits, \
         separated by '.', '_', '__' or dashes"
    )]
    Repository(String),
    #[error(
        "invalid reference format: tag {0:?}: up to {LONGEST_TAG} letters, digits, '_', '.' and '-', \
         not starting with '.' or '-'"
    )]
    Tag(String),
    #[error("invalid reference format: {0}")]
    Digest(#[from] crate::digest::DigestError),
}

// === impl Reference ===

impl Reference {
    /// The registry as references name it: `docker.io`, `quay.io`, `127.0.0.1:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository inside the registry: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name with its tag, if it has one: what a pulled image is tagged with. A reference by digest
    /// alone tags nothing.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().filter(|_| self.digest.is_none()).map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The name with a digest: `docker.io/library/busybox@sha256:...`.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }

    /// What a registry is asked for: the digest where there is one, or else the tag.
    #[must_use]
    pub fn asked(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// As people write it: without `docker.io/`, `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut name = match self.registry.as_str() {
            DEFAULT_REGISTRY => {
                self.repository.strip_prefix(OFFICIAL_FOLDER).unwrap_or(&self.repository).to_owned()
            }
            _ => self.name(),
        };
        self.append_rest(&mut name);
        name
    }

    fn append_rest(&self, name: &mut String) {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = self.name();
        self.append_rest(&mut name);
        f.write_str(&name)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > LONGEST_INPUT {
            return Err(ReferenceError::TooLong);
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::IsAnId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let (registry, repository) = split_registry(name);
        check_registry(&registry)?;
        check_repository(&repository)?;
        if registry.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(ReferenceError::NameTooLong);
        }
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Reference { registry, repository, tag, digest })
    }
}

/// A colon after the last slash starts the tag; before it, a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let last_part = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last_part..].find(':') {
        Some(colon) if last_part > 0 || !text.starts_with('[') => {
            (&text[..last_part + colon], Some(&text[last_part + colon + 1..]))
        }
        _ => (text, None),
    }
}

/// The first part is a registry if it looks like a host: a dot, a port, `localhost`, or upper case.
fn split_registry(name: &str) -> (String, String) {
    let host = |part: &str| {
        part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if host(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/') && !repository.is_empty();
    let folder = if official { OFFICIAL_FOLDER } else { "" };
    (registry.to_owned(), format!("{folder}{repository}"))
}

fn check_registry(registry: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Registry(registry.to_owned());
    if let Some(rest) = registry.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
        let port_right = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port_right { Ok(()) } else { Err(wrong()) };
    }
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.split('.').all(label) && port.is_none_or(is_port) { Ok(()) } else { Err(wrong()) }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_repository(repository: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(repository.to_owned()));
    }
    if repository.split('/').all(is_path_part) {
        Ok(())
    } else {
        Err(ReferenceError::Repository(repository.to_owned()))
    }
}

/// Runs of letters and digits, joined by one of the separators.
fn is_path_part(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut after_plain = false;
    for b in part.bytes() {
        if plain(b) {
            let dashes = !separator.is_empty() && separator.bytes().all(|b| b == b'-');
            if !(matches!(separator.as_str(), "" | "." | "_" | "__") || dashes) {
                return false;
            }
            separator.clear();
            after_plain = true;
        } else if after_plain && matches!(b, b'.' | b'_' | b'-') {
            separator.push(char::from(b));
        } else {
            return false;
        }
    }
    after_plain && separator.is_empty()
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let right = tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(letter)
        && tag.bytes().all(|b| letter(b) || b == b'.' || b == b'-');
    if right { Ok(()) } else { Err(ReferenceError::Tag(tag.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_completed() {
        let by_digest = format!("docker.io/library/busybox@{SHA}");
        let both = format!("quay.io/a/b:1@{SHA}");
        for (text, canonical, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/a/b/c:v", "127.0.0.1:5000/a/b/c:v", "127.0.0.1:5000/a/b/c:v"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest", "a__b/c--d.e_f:latest"),
            ("Upper.Example/x", "Upper.Example/x:latest", "Upper.Example/x:latest"),
            (&by_digest, &by_digest, &by_digest["docker.io/library/".len()..]),
            (&both, &both, &both),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(canonical.parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn a_digest_is_asked_before_a_tag() {
        let both: Reference = format!("quay.io/a/b:1@{SHA}").parse().unwrap();
        assert_eq!((both.asked(), both.tag(), both.tagged()), (SHA, Some("1"), None));
        let plain: Reference = "quay.io/a/b".parse().unwrap();
        assert_eq!((plain.asked(), plain.tagged().unwrap().as_str()), ("latest", "quay.io/a/b:latest"));
    }

    #[test]
    fn wrong_references_say_what_is_wrong() {
        let id = &SHA["sha256:".len()..];
        let long = format!("quay.io/{}", "a".repeat(260));
        let tag = format!("busybox:{}", "t".repeat(129));
        for (text, wanted) in [
            ("", "is empty"),
            (id, "is an image id"),
            ("Busybox", "repository name (library/Busybox) must be lowercase"),
            ("quay.io/a/B", "repository name (a/B) must be lowercase"),
            ("busybox:", "tag \"\""),
            ("busybox:-x", "tag \"-x\""),
            (&tag, "tag \"ttt"),
            ("busybox@sha256:12", "not 64"),
            ("busybox@", "has no algorithm"),
            ("a..b", "repository \"library/a..b\""),
            ("-a", "repository \"library/-a\""),
            ("a___b", "repository"),
            ("a/", "repository \"a/\""),
            ("/a", "repository \"/a\""),
            ("a//b", "repository \"a//b\""),
            ("quay.io/../x", "repository \"../x\""),
            ("quay.io:port/x", "registry \"quay.io:port\""),
            ("quay.io:99999/x", "registry"),
            ("-quay.io/x", "registry"),
            ("[::g]:1/x", "registry"),
            ("https://quay.io/x", "registry \"https:\""),
            ("bus box", "repository"),
            ("busybox\n", "repository"),
            (&long, "more than 255"),
        ] {
            let said = text.parse::<Reference>().unwrap_err().to_string();
            assert!(said.starts_with("invalid reference format"), "{text}: {said}");
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
