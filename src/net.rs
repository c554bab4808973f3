//! `keelson net`: the network of this node as the kernel has it. To be run on the node; neither the API nor an agent is asked.

mod policy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

const USAGE: u8 = 2;

/// Show the network of this node
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Endpoints, ways to other nodes, the tunnel, programs, and how full maps are
    Status(Where),
    /// Services as the data path leads them
    Services(Where),
    /// NetworkPolicies
    #[command(subcommand)]
    Policy(policy::Command),
}

/// Where the node's data path is, and how to print it.
#[derive(Clone, Debug, Args)]
struct Where {
    /// Where programs and maps are pinned.
    #[arg(long, default_value = "/sys/fs/bpf/keelson")]
    bpffs: PathBuf,
    /// Tag in the names of kernel objects, where several nodes live on one kernel.
    #[arg(long, default_value = "", hide = true)]
    instance: String,
    /// How to print it.
    #[arg(short, long, default_value = "text")]
    output: Output,
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
    let (place, shown) = match &options.command {
        Command::Policy(command) => return policy::main(command),
        Command::Status(place) => (place, status(place)),
        Command::Services(place) => (place, services(place)),
    };
    match (shown, place.output) {
        (Ok((document, _)), Output::Json) => println!("{document}"),
        (Ok((_, text)), Output::Text) => print!("{text}"),
        (Err(error), _) => {
            eprintln!("keelson net: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn status(place: &Where) -> anyhow::Result<(Value, String)> {
    let document = ::agent::picture(&agent_options(place)?)?;
    let text = text_of(&document);
    Ok((document, text))
}

fn services(place: &Where) -> anyhow::Result<(Value, String)> {
    let rows = proxy::frontends(&place.bpffs, &place.instance)?;
    let mut table = vec![["FRONTEND", "SCOPE", "BACKENDS", "AFFINITY"].map(str::to_owned)];
    for row in &rows {
        let backends = match row.backends.len() {
            0 => "none: refused".to_owned(),
            _ => row.backends.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        let affinity = row.affinity_seconds.map_or("-".to_owned(), |seconds| format!("{seconds}s"));
        table.push([row.frontend.clone(), row.scope.to_owned(), backends, affinity]);
    }
    let document = rows
        .iter()
        .map(|row| {
            let backends: Vec<String> = row.backends.iter().map(ToString::to_string).collect();
            json!({"frontend": row.frontend, "scope": row.scope, "backends": backends, "affinitySeconds": row.affinity_seconds})
        })
        .collect();
    Ok((document, columns(&table)))
}

/// The agent's flags, as far as they say where things are.
fn agent_options(place: &Where) -> anyhow::Result<::agent::Options> {
    let flags = [
        "keelson net-agent".to_owned(),
        "--kubeconfig=/dev/null".to_owned(),
        format!("--bpffs={}", place.bpffs.display()),
        format!("--instance={}", place.instance),
    ];
    ::agent::Options::try_parse_from(flags).context("flags of the network agent")
}

fn text_of(document: &Value) -> String {
    let list = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let rows = |name: &str, heads: &[&str], fields: &[&str]| -> Vec<Vec<String>> {
        let head = heads.iter().map(|head| (*head).to_owned()).collect();
        let lines = list(name)
            .iter()
            .map(|item| fields.iter().map(|field| text(&item[*field])).collect())
            .collect::<Vec<_>>();
        std::iter::once(head).chain(lines).collect()
    };
    let mut out = String::new();
    for (title, table) in [
        ("Links", rows("links", &["NAME", "UP", "MTU"], &["name", "up", "mtu"])),
        ("Routes", rows("routes", &["TO", "VIA", "LINK", "SOURCE"], &["to", "via", "link", "source"])),
        (
            "Endpoints",
            rows(
                "endpoints",
                &["ADDRESS", "STATE", "IDENTITY", "LINK"],
                &["address", "state", "identity", "link"],
            ),
        ),
        (
            "Elsewhere",
            rows(
                "prefixes",
                &["PREFIX", "NODE", "KEEPS SOURCE", "IDENTITY"],
                &["prefix", "node", "keepsSource", "identity"],
            ),
        ),
        ("Maps", rows("maps", &["NAME", "ENTRIES", "CAPACITY"], &["name", "entries", "capacity"])),
    ] {
        out.push_str(&format!("{title}\n{}\n", columns(&table)));
    }
    match &document["tunnel"] {
        Value::Null => out.push_str("Tunnel\n  none: every node is reached directly\n\n"),
        tunnel => {
            out.push_str(&format!(
                "Tunnel\n  {} up={} mtu={} ({})\n",
                text(&tunnel["link"]),
                tunnel["up"],
                tunnel["mtu"],
                text(&tunnel["carries"])
            ));
            for peer in tunnel["peers"].as_array().into_iter().flatten() {
                out.push_str(&format!("  {} at {}\n", text(&peer["mac"]), text(&peer["node"])));
            }
            out.push('\n');
        }
    }
    let programs: Vec<String> = list("programs").iter().map(text).collect();
    out.push_str(&format!("Programs\n  {}\n\nCounters\n", programs.join("\n  ")));
    for (name, count) in document["counters"].as_object().into_iter().flatten() {
        out.push_str(&format!("  {name}: {count}\n"));
    }
    out
}

/// Indented, each column as wide as its longest cell.
fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let count = rows.first().map_or(0, |row| row.as_ref().len());
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.as_ref().get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(&format!("  {}\n", cells.join("  ").trim_end()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told() {
        let document = json!({
            "links": [{"name": "keelson0", "up": true, "mtu": 1500}],
            "routes": [{"to": "10.244.4.0/22", "via": "10.244.4.1", "link": "keelsonvx", "source": "10.244.0.1"}],
            "tunnel": {"link": "keelsonvx", "up": true, "mtu": 1450, "carries": "x", "peers": [{"node": "198.51.100.2", "mac": "0a:6b:c6:33:64:02"}]},
            "endpoints": [{"address": "10.244.0.2", "state": "READY", "identity": 300, "link": 9}],
            "prefixes": [], "programs": ["9-from_pod"], "maps": [{"name": "FLOWS4", "entries": 3, "capacity": 262144}],
            "counters": {"ToPod": 5},
        });
        let text = text_of(&document);
        for part in [
            "  10.244.4.0/22  10.244.4.1  keelsonvx  10.244.0.1\n",
            "  keelsonvx up=true mtu=1450 (x)\n  0a:6b:c6:33:64:02 at 198.51.100.2\n",
            "  10.244.0.2  READY  300       9\n",
            "  FLOWS4  3        262144\n",
            "  9-from_pod\n",
            "  ToPod: 5\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
