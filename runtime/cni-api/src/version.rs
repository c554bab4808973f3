//! Versions of the specification: what both sides speak, and the answer to VERSION.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::{CniError, Code};

/// A version that these types speak, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    #[default]
    V1_1_0,
}

impl Version {
    pub const ALL: [Version; 5] =
        [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// The newest version that both this library and `offered` know.
    #[must_use]
    pub fn negotiate<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Version> {
        offered.into_iter().filter_map(|version| version.parse().ok()).max()
    }

    /// CHECK and prevResult on DEL came with 0.4.0.
    #[must_use]
    pub fn has_check(self) -> bool {
        self >= Version::V0_4_0
    }

    /// GC and STATUS came with 1.1.0.
    #[must_use]
    pub fn has_gc(self) -> bool {
        self >= Version::V1_1_0
    }

    /// Before 1.0.0 every address said its family.
    #[must_use]
    pub fn has_family_in_ips(self) -> bool {
        self < Version::V1_0_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = CniError;

    fn from_str(text: &str) -> Result<Version, CniError> {
        let known = Version::ALL.into_iter().find(|version| version.as_str() == text);
        known.ok_or_else(|| {
            let all: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
            CniError::new(Code::IncompatibleVersion, format!("cniVersion {text:?} is not supported"))
                .details(format!("supported: {}", all.join(", ")))
        })
    }
}

/// The answer to CNI_COMMAND=VERSION. It is given in the version that was asked for, known or not.
#[must_use]
pub fn supported_versions(asked: &str) -> Value {
    let all: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
    json!({"cniVersion": asked, "supportedVersions": all})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_wins() {
        let check = |offered: &[&str], expect: Option<Version>| {
            assert_eq!(Version::negotiate(offered.iter().copied()), expect, "{offered:?}");
        };
        check(&["0.4.0", "1.0.0", "1.1.0"], Some(Version::V1_1_0));
        check(&["1.0.0", "0.4.0"], Some(Version::V1_0_0));
        check(&["1.2.0", "0.3.1"], Some(Version::V0_3_1));
        check(&["0.2.0", "9.0.0"], None);
        check(&[], None);
    }

    #[test]
    fn an_unknown_version_is_code_1_and_lists_ours() {
        let error = "0.2.0".parse::<Version>().unwrap_err();
        assert_eq!(error.code, 1);
        assert!(error.details.contains("1.1.0"));
    }
}
