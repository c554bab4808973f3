//! Names and the sentences about bad ones: DNS labels, subdomains, qualified names, label values; generated names.
//!
//! Not what a field requires (`validation` picks the rule). Randomness is passed in.
//!
//! Invariant: an empty list means valid; each sentence is upstream's, regular expression included.

/// Characters of generated names: no vowels and nothing that looks alike, so no words appear by chance.
pub const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated suffix.
pub const SUFFIX_LENGTH: usize = 5;
/// A generated name is at most this long.
const GENERATED_MAX: usize = 63;

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const QUALIFIED_MAX: usize = 63;
const PORT_NAME_MAX: usize = 15;
const CONFIG_KEY_MAX: usize = 253;

const LABEL_SENTENCE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_SENTENCE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_SENTENCE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
/// Said of what [`is_path`] is false of.
pub const NOT_A_PATH: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
const LABEL_1035_SENTENCE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_SENTENCE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_SENTENCE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY_SENTENCE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Complaints about a value; empty when it is fine.
pub type Complaints = Vec<String>;

/// RFC 1123 label.
pub fn dns_label(value: &str) -> Complaints {
    let sentence = if is_subdomain(value) { "must not contain dots" } else { LABEL_SENTENCE };
    rule(value, LABEL_MAX, is_label(value), sentence)
}

/// RFC 1123 subdomain: the name of most objects.
pub fn dns_subdomain(value: &str) -> Complaints {
    rule(value, SUBDOMAIN_MAX, is_subdomain(value), SUBDOMAIN_SENTENCE)
}

/// A subdomain whose first label is a star.
pub fn wildcard_subdomain(value: &str) -> Complaints {
    let fits = value.strip_prefix("*.").is_some_and(is_subdomain);
    rule(value, SUBDOMAIN_MAX, fits, WILDCARD_SENTENCE)
}

/// Whether a text can stand in a path of a URL as it is.
pub fn is_path(value: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    !value.is_empty() && value.bytes().all(known)
}

/// RFC 1035 label: the name of a Service.
pub fn dns_1035_label(value: &str) -> Complaints {
    let fits = is_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase());
    rule(value, LABEL_MAX, fits, LABEL_1035_SENTENCE)
}

/// A label key, annotation key, finalizer or resource name: `[prefix/]name`.
pub fn qualified_name(value: &str) -> Complaints {
    let mut out = Complaints::new();
    let name = match value.matches('/').count() {
        0 => value,
        1 => {
            let (prefix, name) = value.split_once('/').unwrap_or(("", value));
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".into());
            } else {
                let complaints =
                    rule_in("bytes", prefix, SUBDOMAIN_MAX, is_subdomain(prefix), SUBDOMAIN_SENTENCE);
                out.extend(complaints.into_iter().map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {QUALIFIED_SENTENCE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".into());
    } else if name.len() > QUALIFIED_MAX {
        out.push(format!("name part must be no more than {QUALIFIED_MAX} bytes"));
    }
    if !is_qualified_part(name) {
        out.push(format!("name part {QUALIFIED_SENTENCE}"));
    }
    out
}

/// The value of a label.
pub fn label_value(value: &str) -> Complaints {
    rule_in("bytes", value, LABEL_MAX, value.is_empty() || is_qualified_part(value), LABEL_VALUE_SENTENCE)
}

/// A key of a ConfigMap or Secret.
pub fn config_key(value: &str) -> Complaints {
    let fits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let mut out = rule(value, CONFIG_KEY_MAX, fits, CONFIG_KEY_SENTENCE);
    match value {
        "." => out.push("must not be '.'".into()),
        ".." => out.push("must not be '..'".into()),
        other if other.starts_with("..") => out.push("must not start with '..'".into()),
        _ => {}
    }
    out
}

/// The name of a port (IANA service name).
pub fn port_name(value: &str) -> Complaints {
    let mut out = Complaints::new();
    if value.len() > PORT_NAME_MAX {
        out.push(format!("must be no more than {PORT_NAME_MAX} characters"));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

/// The number of a port.
pub fn port_number(value: i64) -> Complaints {
    if (1..=65535).contains(&value) { vec![] } else { vec!["must be between 1 and 65535, inclusive".into()] }
}

/// A name that must survive being a path segment (RBAC roles).
pub fn path_segment(value: &str) -> Complaints {
    match value {
        "." => return vec!["may not be '.'".into()],
        ".." => return vec!["may not be '..'".into()],
        _ => {}
    }
    ['/', '%'].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// `generateName` as validation sees it: a trailing dash stands for the suffix to come.
pub fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(stem) if !stem.is_empty() && stem.is_char_boundary(stem.len() - 1) => {
            format!("{}a", &stem[..stem.len() - 1])
        }
        _ => name.to_owned(),
    }
}

/// A name from `generateName`; `random` gives uniformly distributed numbers below its argument.
pub fn generate(base: &str, mut random: impl FnMut(usize) -> usize) -> String {
    let mut keep = base.len().min(GENERATED_MAX - SUFFIX_LENGTH);
    while !base.is_char_boundary(keep) {
        keep -= 1;
    }
    let mut name = String::with_capacity(keep + SUFFIX_LENGTH);
    name.push_str(&base[..keep]);
    for _ in 0..SUFFIX_LENGTH {
        name.push(SUFFIX_ALPHABET[random(SUFFIX_ALPHABET.len()) % SUFFIX_ALPHABET.len()] as char);
    }
    name
}

/// Spells any text in the suffix alphabet (pod-template hashes).
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| SUFFIX_ALPHABET[usize::from(byte) % SUFFIX_ALPHABET.len()] as char).collect()
}

fn rule(value: &str, most: usize, fits: bool, sentence: &str) -> Complaints {
    rule_in("characters", value, most, fits, sentence)
}

/// Upstream counts bytes everywhere, but says so only in its newer rules.
fn rule_in(unit: &str, value: &str, most: usize, fits: bool, sentence: &str) -> Complaints {
    let mut out = Complaints::new();
    if value.len() > most {
        out.push(format!("must be no more than {most} {unit}"));
    }
    if !fits {
        out.push(sentence.to_owned());
    }
    out
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_label(value: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    framed(value, edge, |b| edge(b) || b == b'-')
}

fn is_qualified_part(value: &str) -> bool {
    framed(value, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn framed(value: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let long = "a".repeat(64);
        type Rule = fn(&str) -> Complaints;
        let cases: &[(Rule, &str, &[&str])] = &[
            (dns_label, "abc-1", &[]),
            (dns_label, "A", &[LABEL_SENTENCE]),
            (dns_label, "a.b", &["must not contain dots"]),
            (label_value, &long, &["must be no more than 63 bytes"]),
            (dns_label, "", &[LABEL_SENTENCE]),
            (dns_label, &long, &["must be no more than 63 characters"]),
            (dns_subdomain, "a.b-c.d", &[]),
            (dns_subdomain, "a..b", &[SUBDOMAIN_SENTENCE]),
            (dns_subdomain, "-a", &[SUBDOMAIN_SENTENCE]),
            (dns_1035_label, "1a", &[LABEL_1035_SENTENCE]),
            (qualified_name, "example.com/MyName", &[]),
            (qualified_name, "/x", &["prefix part must be non-empty"]),
            (
                qualified_name,
                "a/",
                &["name part must be non-empty", &format!("name part {QUALIFIED_SENTENCE}")],
            ),
            (label_value, "", &[]),
            (label_value, "a b", &[LABEL_VALUE_SENTENCE]),
            (config_key, "a.b", &[]),
            (config_key, "..a", &["must not start with '..'"]),
            (port_name, "http", &[]),
            (port_name, "80", &["must contain at least one letter (a-z)"]),
            (path_segment, "a/b", &["may not contain '/'"]),
        ];
        for (rule, value, expect) in cases {
            assert_eq!(rule(value), *expect, "{value}");
        }
    }

    #[test]
    fn generated_names() {
        let mut next = 0;
        let name = generate("web-", |_| {
            next += 1;
            next
        });
        assert_eq!(name, "web-cdfgh");
        assert_eq!(generate(&"x".repeat(80), |_| 0).len(), 63);
        assert_eq!(mask_trailing_dash("abc-"), "aba");
        assert_eq!(mask_trailing_dash("-"), "-");
    }
}
