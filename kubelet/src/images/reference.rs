//! Image names as far as the kubelet has to understand them: valid, and with a tag. Pure.

/// The name with `:latest` where it has neither tag nor digest; else why it is none.
pub fn complete(image: &str) -> Result<String, &'static str> {
    const WRONG: &str = "invalid reference format";
    let (named, digest) = match image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = match named.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (named, None),
    };
    let (host, rest) = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), rest),
        _ => (None, path),
    };
    if host.is_some_and(|host| host.is_empty() || !host.bytes().all(is_host)) {
        return Err(WRONG);
    }
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    if !rest.split('/').all(is_part) {
        return Err(WRONG);
    }
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.bytes().all(is_tag)) {
        return Err(WRONG);
    }
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(WRONG);
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// The registry that a name is pulled from.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
}

fn is_part(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| inner(*byte));
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| inner(*byte) || b"._-".contains(byte))
}

fn is_tag(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for (image, whole) in [
            ("busybox", Ok("busybox:latest")),
            ("busybox:1", Ok("busybox:1")),
            ("localhost:5000/a/b", Ok("localhost:5000/a/b:latest")),
            (&digest, Ok(digest.as_str())),
            ("Busybox", Err("invalid reference format: repository name must be lowercase")),
            ("a b", Err("invalid reference format")),
            ("", Err("invalid reference format")),
            ("a:", Err("invalid reference format")),
            ("a@sha256:12", Err("invalid reference format")),
        ] {
            assert_eq!(complete(image), whole.map(str::to_owned), "{image}");
        }
        assert_eq!((registry("busybox"), registry("r.io:1/a")), ("docker.io", "r.io:1"));
    }
}
