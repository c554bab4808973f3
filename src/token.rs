//! `keelson token`: make, list and revoke what machines join with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use client::{Client, Config, Surroundings};
use jiff::{SignedDuration, Timestamp};
use join::{Listed, Purpose};
use serde_json::{Value, json};

const USAGE: u8 = 2;
const PROGRAM: &str = "keelson token";

/// Make, list and revoke the tokens by which machines join
#[derive(Debug, Parser)]
struct Options {
    /// File that says where the API is and who we are.
    #[arg(long, global = true, default_value = "/etc/keelson/admin.conf", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it
    Create {
        /// How long it is good: 30m, 24h; 0 is until it is revoked.
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: SignedDuration,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// It makes a machine a further server, which holds all of the cluster's keys; only where a server runs.
        #[arg(long)]
        server: bool,
        /// Where this server's keys are.
        #[arg(long, default_value = "/var/lib/keelson", env = "KEELSON_DATA_DIR", requires = "server")]
        data_dir: PathBuf,
        /// Print the whole command that joins a machine.
        #[arg(long)]
        print_join_command: bool,
    },
    /// List the tokens of the cluster
    List {
        /// How to print them.
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Revoke a token, by its id or the whole of it
    Revoke {
        /// Its first six letters, or all of it.
        token: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs to its end.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match Config::read(&options.kubeconfig) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{PROGRAM}: {error}; give --kubeconfig: tokens are made where the server runs");
            return ExitCode::from(USAGE);
        }
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(config, options.command)));
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{PROGRAM}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config, command: Command) -> anyhow::Result<String> {
    let client = Client::new(config.clone(), PROGRAM, Surroundings::system())?;
    Ok(match command {
        Command::Create { ttl, description, server, data_dir, print_join_command } => {
            let ttl = (!ttl.is_zero()).then_some(ttl);
            let authority_key = if server { authority_key(&data_dir)? } else { String::new() };
            let purpose =
                if server { Purpose::Server { authority_key: &authority_key } } else { Purpose::Node };
            let token = join::create(&client, &config, ttl, &description, purpose).await?.reveal();
            if print_join_command {
                let what = if server { "server --join" } else { "agent --server" };
                format!("keelson {what} {} --token {token}", address(&client, &config).await)
            } else {
                token
            }
        }
        Command::List { output } => {
            let tokens = join::list(&client).await?;
            match output {
                Output::Text => table(&tokens, Timestamp::now()),
                Output::Json => document(&tokens).to_string(),
            }
        }
        Command::Revoke { token } => {
            format!("bootstrap token {:?} deleted", join::revoke(&client, &token).await?)
        }
    })
}

/// The key that a token for servers is made with.
fn authority_key(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("pki/ca.key");
    std::fs::read_to_string(&path).with_context(|| {
        format!("reading {}: tokens for servers are made as root where one runs", path.display())
    })
}

/// Where other machines reach the API: what the cluster says of itself, else what the kubeconfig says.
async fn address(client: &Client, config: &Config) -> String {
    let resource = client::Resource::ENDPOINT_SLICES;
    let told = client.get(&resource, "default", "kubernetes").await.ok().and_then(|slice| {
        let address = slice["endpoints"][0]["addresses"][0].as_str()?.parse().ok()?;
        let port = slice["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
        Some(format!("https://{}", std::net::SocketAddr::new(address, port)))
    });
    told.unwrap_or_else(|| format!("https://{}:{}", config.host, config.port))
}

/// `30s`, `5m`, `24h`, `7d`, `0`.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?}: a duration such as 30m or 24h is wanted, or 0");
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds: i64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count = digits.parse::<u32>().map_err(|_| wrong())?;
    Ok(SignedDuration::from_secs(i64::from(count) * seconds))
}

/// As `kubeadm token list`.
fn table(tokens: &[Listed], now: Timestamp) -> String {
    let mut rows =
        vec![["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"].map(str::to_owned)];
    for token in tokens {
        let (ttl, expires) = match token.expires {
            None => ("<forever>".to_owned(), "<never>".to_owned()),
            Some(ends) if ends <= now => ("<invalid>".to_owned(), ends.to_string()),
            Some(ends) => {
                (api::printers::human_duration(ends.duration_since(now).as_secs()), ends.to_string())
            }
        };
        let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
        rows.push([
            token.token.clone(),
            ttl,
            expires,
            or_none(token.usages.join(",")),
            or_none(token.description.clone()),
            or_none(token.groups.join(",")),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("   ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn document(tokens: &[Listed]) -> Value {
    tokens
        .iter()
        .map(|token| {
            json!({"token": token.token, "expires": token.expires.map(|ends| ends.to_string()), "usages": token.usages,
                "description": token.description, "groups": token.groups})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_as_kubeadm_prints_it() {
        let token = |expires: Option<&str>| Listed {
            token: "abcdef.0123456789abcdef".into(),
            expires: expires.map(|text| text.parse().unwrap()),
            usages: vec!["authentication".into(), "signing".into()],
            description: String::new(),
            groups: vec!["system:bootstrappers:keelson:nodes".into()],
        };
        let tokens = [token(Some("2026-01-02T00:00:00Z")), token(None), token(Some("2025-12-31T00:00:00Z"))];
        let shown = table(&tokens, "2026-01-01T01:00:00Z".parse().unwrap());
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("TOKEN                     TTL         EXPIRES"), "{shown}");
        assert!(
            lines[1].contains("   23h         2026-01-02T00:00:00Z   authentication,signing   <none>"),
            "{shown}"
        );
        assert!(lines[2].contains("   <forever>   <never>"), "{shown}");
        assert!(lines[3].contains("   <invalid>   2025-12-31"), "{shown}");
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds);
        }
        for text in ["", "h", "24", "-1h", "1w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
