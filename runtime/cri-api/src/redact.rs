//! What `{:?}` says about credentials: which of them are given, never what they are.

use std::fmt;

use crate::images_v1::Credentials;
use crate::v1::AuthConfig;

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("password", &hidden(&self.password))
            .field("auth", &hidden(&self.auth))
            .field("server_address", &self.server_address)
            .field("identity_token", &hidden(&self.identity_token))
            .field("registry_token", &hidden(&self.registry_token))
            .finish()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = hidden(&self.password);
        f.debug_struct("Credentials").field("username", &self.username).field("password", &password).finish()
    }
}

fn hidden(secret: &str) -> &'static str {
    if secret.is_empty() { "" } else { "<hidden>" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::PullImageRequest;

    #[test]
    fn a_pull_request_does_not_print_its_credentials() {
        let request = PullImageRequest {
            auth: Some(AuthConfig {
                username: "robot".into(),
                password: "hunter2".into(),
                auth: "cm9ib3Q6aHVudGVyMg==".into(),
                server_address: "registry.example".into(),
                identity_token: "id-token".into(),
                registry_token: "bearer".into(),
            }),
            ..Default::default()
        };
        let text = format!("{request:?}");
        for secret in ["hunter2", "cm9ib3Q6aHVudGVyMg==", "id-token", "bearer"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("robot") && text.contains("registry.example"), "{text}");
    }
}
