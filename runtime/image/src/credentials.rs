//! What a registry is told about who pulls. Never printed, never sent to another host.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Credentials of one pull, as CRI's `AuthConfig` carries them. Empty strings mean "not given".
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// Exchanged for an access token at the registry's token server (OAuth 2 refresh token).
    pub identity_token: String,
    /// Sent to the registry as a bearer token, as it is.
    pub registry_token: String,
    /// Only this host may see them; empty: the host that the image's reference names.
    pub server_address: String,
}

/// Why an `auth` string is not `base64(user:password)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("the auth string is not base64")]
    Base64,
    #[error("the decoded auth string is not user:password")]
    NoColon,
}

// === impl Credentials ===

impl Credentials {
    #[must_use]
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Credentials {
        Credentials { username: username.into(), password: password.into(), ..Credentials::default() }
    }

    /// From the `auth` field of a Docker configuration or of CRI's `AuthConfig`.
    ///
    /// # Errors
    /// When it is not `base64(user:password)`.
    pub fn from_auth(auth: &str) -> Result<Credentials, CredentialsError> {
        let bytes = STANDARD
            .decode(auth)
            .or_else(|_| STANDARD_NO_PAD.decode(auth.trim_end_matches('=')))
            .map_err(|_| CredentialsError::Base64)?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialsError::NoColon)?;
        // Some clients pad the password with NUL bytes.
        let (user, password) =
            text.trim_end_matches('\0').split_once(':').ok_or(CredentialsError::NoColon)?;
        Ok(Credentials::basic(user, password))
    }

    /// Nothing that could be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    /// The value of an `Authorization: Basic` header.
    pub(crate) fn basic_header(&self) -> Option<String> {
        (!self.username.is_empty())
            .then(|| format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password))))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_strings_are_read() {
        for (auth, wanted) in [
            ("dXNlcjpwYXNz", Ok(Credentials::basic("user", "pass"))),
            ("dXNlcjpwOmE=", Ok(Credentials::basic("user", "p:a"))),
            ("dXNlcjpwOmE", Ok(Credentials::basic("user", "p:a"))),
            ("dXNlcg==", Err(CredentialsError::NoColon)),
            ("?", Err(CredentialsError::Base64)),
        ] {
            assert_eq!(Credentials::from_auth(auth), wanted, "{auth}");
        }
    }

    #[test]
    fn credentials_do_not_print() {
        let printed = format!("{:?}", Credentials::basic("user", "secret-word"));
        assert!(!printed.contains("secret-word") && !printed.contains("user"), "{printed}");
    }
}
