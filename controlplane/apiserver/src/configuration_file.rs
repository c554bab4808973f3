//! Files that say how the server is set up: one YAML document of one kind, whose unknown fields are mistakes.
//!
//! What the fields mean is the business of `audit` and `encryption`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigurationError {
    /// No YAML, or fields that there are not.
    #[error("{0}")]
    Parse(String),
    /// Another kind.
    #[error("{found:?} is not {wanted}")]
    Kind {
        /// What it says it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// A field.
    #[error("{at}: {why}")]
    Invalid {
        /// Its path.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// The whole of it.
    #[error("{0}")]
    Unusable(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// Reads a file of this kind, whose own fields `T` denies to be others.
pub(crate) fn read<T: DeserializeOwned>(
    text: &str,
    api_version: &str,
    kind: &str,
) -> Result<T, ConfigurationError> {
    // The parser would show the lines around a mistake, and they may hold a key.
    let options = serde_saphyr::options! { with_snippet: false };
    let wrong = |error: serde_saphyr::Error| ConfigurationError::Parse(error.to_string());
    let head: Head = serde_saphyr::from_str_with_options(text, options.clone()).map_err(wrong)?;
    if head.api_version != api_version || head.kind != kind {
        return Err(ConfigurationError::Kind {
            found: format!("{}, Kind={}", head.api_version, head.kind),
            wanted: format!("{api_version}, Kind={kind}"),
        });
    }
    serde_saphyr::from_str_with_options(text, options).map_err(wrong)
}

/// A mistake of one field.
pub(crate) fn invalid(at: impl Into<String>, why: impl Into<String>) -> ConfigurationError {
    ConfigurationError::Invalid { at: at.into(), why: why.into() }
}
