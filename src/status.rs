//! `keelson status`: whether the cluster is as it should be, in one screen.
//!
//! ```text
//! API          https://127.0.0.1:6443 answers
//! nodes        1 of 1 ready
//! pods         5: 5 Running
//! deployments  1 of 2 available
//!   default/web: 2 of 3 replicas: Deployment does not have minimum availability.
//! ```
//!
//! Exit codes: 0 all well, 1 no answer, 2 usage, 3 not ready or degraded, 124 not ready within `--wait`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use client::{Cache, Caches, Client, Config, Resource, Surroundings};
use serde_json::{Value, json};
use tokio::sync::Notify;

const USAGE: u8 = 2;
const DEGRADED: u8 = 3;
const TIMED_OUT: u8 = 124;
/// How long an answer may take where nothing is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// Tell whether the cluster is as it should be
#[derive(Debug, Parser)]
struct Options {
    /// File that says where the API is and who we are.
    #[arg(long, default_value = "/etc/keelson/admin.conf", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Wait so long for everything to be well: 30s, 2m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// How to print it.
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    nodes: (usize, usize),
    phases: BTreeMap<String, usize>,
    deployments: (usize, usize),
    /// One sentence for each thing that is not well.
    troubles: Vec<String>,
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
            eprintln!("keelson status: {error}; give --kubeconfig, or start keelson server");
            return ExitCode::from(USAGE);
        }
    };
    let server = format!("https://{}:{}", config.host, config.port);
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(look(config, options.wait)));
    match done {
        Ok(seen) => {
            match options.output {
                Output::Text => print!("{}", text(&server, &seen)),
                Output::Json => println!("{}", document(&server, &seen)),
            }
            match (seen.well(), options.wait) {
                (true, _) => ExitCode::SUCCESS,
                (false, Some(_)) => ExitCode::from(TIMED_OUT),
                (false, None) => ExitCode::from(DEGRADED),
            }
        }
        Err(error) => {
            eprintln!("keelson status: {error:#}");
            if options.wait.is_some() { ExitCode::from(TIMED_OUT) } else { ExitCode::FAILURE }
        }
    }
}

/// Looks once, or until all is well.
async fn look(config: Config, wait: Option<Duration>) -> anyhow::Result<Seen> {
    let client = Client::new(config, "keelson status", Surroundings::system())?;
    if wait.is_none() {
        // An unreachable API is an error here; the caches would try for ever.
        client.get_path("/api").await?;
    }
    let caches = Caches::new(client);
    let kinds = [&Resource::NODES, &Resource::PODS, &Resource::DEPLOYMENTS].map(|kind| caches.of(kind));
    let changed = Arc::new(Notify::new());
    for kind in &kinds {
        let changed = changed.clone();
        kind.subscribe(move |_| changed.notify_one());
    }
    let synced = async {
        for kind in &kinds {
            kind.synced().await;
        }
    };
    let deadline = tokio::time::Instant::now() + wait.unwrap_or(ANSWER);
    tokio::time::timeout_at(deadline, synced)
        .await
        .map_err(|_| anyhow::anyhow!("the API does not answer in time"))?;
    loop {
        let seen = see(&kinds);
        if seen.well() || wait.is_none() {
            return Ok(seen);
        }
        if tokio::time::timeout_at(deadline, changed.notified()).await.is_err() {
            return Ok(seen);
        }
    }
}

fn see(kinds: &[Cache; 3]) -> Seen {
    let [nodes, pods, deployments] = kinds.each_ref().map(|kind| kind.list(""));
    let mut seen = Seen::default();
    nodes.iter().for_each(|node| seen.node(node.value()));
    pods.iter().for_each(|pod| seen.pod(pod.value()));
    deployments.iter().for_each(|deployment| seen.deployment(deployment.value()));
    if seen.nodes.1 == 0 {
        seen.troubles.push("no node has registered".into());
    }
    seen
}

// === impl Seen ===

impl Seen {
    fn well(&self) -> bool {
        self.troubles.is_empty()
    }

    fn node(&mut self, node: &Value) {
        self.nodes.1 += 1;
        match condition(node, "Ready") {
            Some(ready) if ready["status"] == "True" => self.nodes.0 += 1,
            found => {
                let why =
                    found.and_then(|ready| ready["message"].as_str()).unwrap_or("it has not reported yet");
                self.troubles.push(format!("node {} is not ready: {why}", name(node)));
            }
        }
    }

    fn pod(&mut self, pod: &Value) {
        let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
        *self.phases.entry(phase.to_owned()).or_default() += 1;
        let waiting =
            pod["status"]["containerStatuses"].as_array().into_iter().flatten().find_map(|status| {
                let waiting = &status["state"]["waiting"];
                waiting["message"].as_str().or_else(|| waiting["reason"].as_str())
            });
        let unready = condition(pod, "Ready").filter(|ready| ready["status"] != "True");
        let told = waiting.or_else(|| {
            condition(pod, "PodScheduled").filter(|found| found["status"] == "False")?["message"].as_str()
        });
        match (phase, told, unready) {
            ("Succeeded", ..) => {}
            ("Failed", ..) => {
                let why = pod["status"]["message"].as_str().or_else(|| pod["status"]["reason"].as_str());
                self.troubles.push(format!(
                    "pod {} failed: {}",
                    name(pod),
                    why.unwrap_or("see kubectl describe")
                ));
            }
            ("Running", _, None) => {}
            ("Running", told, Some(ready)) => {
                let why = told.or_else(|| ready["message"].as_str()).unwrap_or("it is not ready");
                self.troubles.push(format!("pod {} is not ready: {why}", name(pod)));
            }
            (phase, told, _) => {
                self.troubles.push(format!("pod {} is {phase}: {}", name(pod), told.unwrap_or("it starts")));
            }
        }
    }

    fn deployment(&mut self, deployment: &Value) {
        self.deployments.1 += 1;
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let available = deployment["status"]["availableReplicas"].as_u64().unwrap_or(0);
        if available >= wanted {
            self.deployments.0 += 1;
            return;
        }
        let why = condition(deployment, "Available").and_then(|found| found["message"].as_str());
        self.troubles.push(format!(
            "deployment {} has {available} of {wanted} replicas: {}",
            name(deployment),
            why.unwrap_or("it begins")
        ));
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn name(object: &Value) -> String {
    let part = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match part("namespace") {
        "" => part("name").to_owned(),
        namespace => format!("{namespace}/{}", part("name")),
    }
}

fn text(server: &str, seen: &Seen) -> String {
    let phases: Vec<String> = seen.phases.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let total: usize = seen.phases.values().sum();
    let mut text = format!("API          {server} answers\n");
    text += &format!("nodes        {} of {} ready\n", seen.nodes.0, seen.nodes.1);
    text += &match total {
        0 => "pods         none\n".to_owned(),
        _ => format!("pods         {total}: {}\n", phases.join(", ")),
    };
    text += &format!("deployments  {} of {} available\n", seen.deployments.0, seen.deployments.1);
    for trouble in &seen.troubles {
        text += &format!("  {trouble}\n");
    }
    text
}

fn document(server: &str, seen: &Seen) -> Value {
    json!({
        "apiVersion": "keelson.dev/v1",
        "kind": "Status",
        "ready": seen.well(),
        "server": server,
        "nodes": {"ready": seen.nodes.0, "total": seen.nodes.1},
        "pods": seen.phases,
        "deployments": {"available": seen.deployments.0, "total": seen.deployments.1},
        "troubles": seen.troubles,
    })
}

/// `30`, `30s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a number of seconds is wanted, or 30s, 2m, 1h".into()),
    };
    let number: u32 =
        digits.parse().map_err(|_| "a number of seconds is wanted, or 30s, 2m, 1h".to_owned())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: fn(&mut Seen, &Value), object: Value) -> Seen {
        let mut seen = Seen::default();
        kind(&mut seen, &object);
        seen
    }

    #[test]
    fn troubles_are_told() {
        let meta = json!({"name": "a", "namespace": "n"});
        let check = |kind: fn(&mut Seen, &Value), status: Value, spec: Value, expect: &[&str]| {
            let object = json!({"metadata": meta, "spec": spec, "status": status});
            assert_eq!(seen(kind, object).troubles, expect);
        };
        let conditions = |kind: &str, status: &str, message: &str| json!([{"type": kind, "status": status, "message": message}]);
        check(Seen::node, json!({"conditions": conditions("Ready", "True", "")}), json!({}), &[]);
        check(
            Seen::node,
            json!({"conditions": conditions("Ready", "False", "network plugin returns error")}),
            json!({}),
            &["node n/a is not ready: network plugin returns error"],
        );
        check(Seen::node, json!({}), json!({}), &["node n/a is not ready: it has not reported yet"]);
        check(Seen::pod, json!({"phase": "Succeeded"}), json!({}), &[]);
        let ready = conditions("Ready", "True", "");
        check(Seen::pod, json!({"phase": "Running", "conditions": ready}), json!({}), &[]);
        check(
            Seen::pod,
            json!({"phase": "Pending", "conditions": conditions("PodScheduled", "False", "0/1 nodes are available")}),
            json!({}),
            &["pod n/a is Pending: 0/1 nodes are available"],
        );
        check(
            Seen::pod,
            json!({"phase": "Running", "conditions": conditions("Ready", "False", ""),
                "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            json!({}),
            &["pod n/a is not ready: CrashLoopBackOff"],
        );
        check(Seen::deployment, json!({"availableReplicas": 3}), json!({"replicas": 3}), &[]);
        check(
            Seen::deployment,
            json!({"availableReplicas": 1}),
            json!({"replicas": 3}),
            &["deployment n/a has 1 of 3 replicas: it begins"],
        );
    }

    #[test]
    fn the_screen_and_the_document() {
        let seen = Seen {
            nodes: (1, 1),
            phases: BTreeMap::from([("Pending".into(), 1), ("Running".into(), 4)]),
            deployments: (1, 2),
            troubles: vec!["deployment d/web has 2 of 3 replicas: it begins".into()],
        };
        assert_eq!(
            text("https://127.0.0.1:6443", &seen),
            "API          https://127.0.0.1:6443 answers\nnodes        1 of 1 ready\npods         5: 1 Pending, 4 Running\n\
             deployments  1 of 2 available\n  deployment d/web has 2 of 3 replicas: it begins\n"
        );
        let document = document("https://127.0.0.1:6443", &seen);
        assert_eq!((&document["ready"], &document["pods"]["Running"]), (&json!(false), &json!(4)));
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("30", Some(30)), ("45s", Some(45)), ("2m", Some(120)), ("1h", Some(3600))] {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
        for text in ["", "s", "-1", "1d", "1.5m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
