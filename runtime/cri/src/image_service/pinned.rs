//! Which images are never collected: those that a person pinned, and those that the command line names.
//!
//! A pattern is a whole name, or has a `*` at its end, or one at each end; names are complete ones, with registry and
//! tag or digest. Removing such an image by name is still possible: it is the collectors that leave it.
//!
//! Reference: CRI `Image.pinned`; the patterns are CRI-O's `pinned_images`.

use image::{Image, Reference};

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Whole(String),
    Start(String),
    Within(String),
}

impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let wrong = || {
            let why = "expected a name, `start*`, or `*part*`";
            Err(format!("pinned image {text:?}: {why}"))
        };
        let (start, end) = (text.starts_with('*'), text.len() > 1 && text.ends_with('*'));
        let inner = text.trim_matches('*');
        if inner.is_empty()
            || inner.contains('*')
            || inner.len() + usize::from(start) + usize::from(end) != text.len()
        {
            return wrong();
        }
        match (start, end) {
            (false, false) => {
                let whole = text.parse::<Reference>().map_err(|error| format!("pinned image: {error}"))?;
                Ok(Pattern::Whole(whole.to_string()))
            }
            (false, true) => Ok(Pattern::Start(inner.to_owned())),
            (true, true) => Ok(Pattern::Within(inner.to_owned())),
            (true, false) => wrong(),
        }
    }
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        match self {
            Pattern::Whole(whole) => name == whole,
            Pattern::Start(start) => name.starts_with(start),
            Pattern::Within(part) => name.contains(part),
        }
    }
}

/// Whether collectors leave an image.
pub fn is_pinned(image: &Image, patterns: &[Pattern]) -> bool {
    let mut names = image.tags.iter().chain(&image.digests);
    image.pinned || names.any(|name| patterns.iter().any(|pattern| pattern.fits(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let name = "docker.io/library/busybox:latest";
        for (pattern, expect) in [
            ("busybox", Some(true)),
            ("docker.io/library/busybox:latest", Some(true)),
            ("busybox:1", Some(false)),
            ("docker.io/library/*", Some(true)),
            ("library/*", Some(false)),
            ("*busy*", Some(true)),
            ("*crowded*", Some(false)),
            ("*busy", None),
            ("*", None),
            ("**", None),
            ("a*b", None),
            ("a**", None),
            ("", None),
            ("UPPER", None),
        ] {
            let found = pattern.parse::<Pattern>().ok().map(|pattern| pattern.fits(name));
            assert_eq!(found, expect, "{pattern}");
        }
    }
}
