//! Which of an index's images runs here.
//!
//! Reference: OCI image spec, image-index.md "Platform Variants".

use std::fmt;

/// Operating system, architecture and variant in Go's words, as manifests use them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    /// `v8`, `v7`; empty where there is none.
    pub variant: String,
}

// === impl Platform ===

impl Platform {
    /// Of this process.
    #[must_use]
    pub fn here() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Platform::new("linux", architecture, "")
    }

    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let variant = match (architecture, variant) {
            ("arm64", "" | "8") => "v8",
            ("arm", "") => "v7",
            ("amd64", "v1") => "",
            (_, variant) => variant,
        };
        Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// How well an image for `other` runs here: 0 is best, none not at all. Older variants of one
    /// architecture run on newer ones.
    #[must_use]
    pub fn distance(&self, other: &Platform) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let level = |variant: &str| variant.trim_start_matches('v').parse::<u32>().unwrap_or(1);
        level(&self.variant).checked_sub(level(&other.variant))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_run_upwards_only() {
        let amd64 = Platform::new("linux", "amd64", "");
        let v3 = Platform::new("linux", "amd64", "v3");
        let arm7 = Platform::new("linux", "arm", "v7");
        for (host, image, wanted) in [
            (&amd64, &amd64, Some(0)),
            (&amd64, &v3, None),
            (&v3, &amd64, Some(2)),
            (&arm7, &Platform::new("linux", "arm", "v6"), Some(1)),
            (&arm7, &Platform::new("linux", "arm64", "v8"), None),
            (&amd64, &Platform::new("windows", "amd64", ""), None),
            (&amd64, &Platform::new("unknown", "unknown", ""), None),
        ] {
            assert_eq!(host.distance(image), wanted, "{image} on {host}");
        }
        assert_eq!(Platform::new("linux", "arm64", "").to_string(), "linux/arm64/v8");
    }
}
