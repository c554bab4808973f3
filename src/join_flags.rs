//! The token by which a machine joins, as flags of `keelson agent` and `keelson server`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use pki::JoinToken;

/// Flags that are read once, by the supervisor.
#[derive(Clone, Debug, Args)]
pub struct JoinFlags {
    /// What `keelson token create` printed on a server; needed once.
    #[arg(long, env = "KEELSON_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds it.
    #[arg(long, env = "KEELSON_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// How long to try where the server does not answer.
    #[arg(long, default_value_t = 60, env = "KEELSON_JOIN_SECONDS", value_name = "SECONDS")]
    pub join_seconds: u64,
}

impl JoinFlags {
    /// The token, where one is given.
    pub fn read(&self) -> anyhow::Result<Option<JoinToken>> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => {
                std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?
            }
            (None, None) => return Ok(None),
        };
        let flag = if self.token.is_some() { "--token" } else { "--token-file" };
        Ok(Some(JoinToken::parse(&text).context(flag)?))
    }
}

/// Children have no use for the token, and their command lines are for everybody to read.
pub fn without_token(arguments: &[OsString]) -> Vec<OsString> {
    let mut rest = Vec::new();
    let mut skipping = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        if std::mem::take(&mut skipping) || text.starts_with("--token=") || text.starts_with("--token-file=")
        {
            continue;
        }
        if text == "--token" || text == "--token-file" {
            skipping = true;
            continue;
        }
        rest.push(argument.clone());
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stays_with_the_supervisor() {
        let check = |arguments: &[&str], expect: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(without_token(&arguments), expect);
        };
        check(&["--server=u", "--token", "secret", "--node-name=n"], &["--server=u", "--node-name=n"]);
        check(&["--token=secret", "--token-file=f", "--token-file", "f"], &[]);
    }
}
