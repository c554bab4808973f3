//! `keelson connectivity test`: whether the network of a running cluster does what it should, by trying.
//!
//! Makes a namespace, a server, a Service and policies in it, calls them from pods and from this host, and takes all of it
//! away again. Pods run this very executable: unless `--image` names one that nodes can pull, it is imported into this
//! node's store, and pods are bound to this node. To be run on a node.
//!
//! Exit codes: 0 everything passed, 1 something failed, 2 usage.

mod scenario;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Parser, Subcommand};
use client::{Cache, Client, Config, Key, Resource, Selection, Surroundings};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::demo::{image, workload};
use scenario::{From, SCENARIOS, Scenario, Target};

const USAGE: u8 = 2;
const SERVER: &str = "server";
/// How long a pod may take to run, and a call to fail.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a policy may take to be everywhere.
const SETTLE: Duration = Duration::from_secs(1);

/// Try the network of a running cluster
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run all scenarios, or those that are named
    Test(Flags),
}

#[derive(Debug, Args)]
struct Flags {
    /// File that says where the API is and who we are.
    #[arg(long, default_value = "/etc/keelson/admin.conf", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Only this scenario; may be given several times.
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// The node that pods run on; the host name unless given.
    #[arg(long)]
    node_name: Option<String>,
    /// An image of this executable that nodes can pull.
    #[arg(long)]
    image: Option<String>,
    /// The CRI server's socket, for importing the image.
    #[arg(long, default_value = "unix:///run/keelson/cri.sock", env = "KEELSON_CRI_ADDRESS")]
    cri_address: String,
    /// Name scenarios and do nothing.
    #[arg(long)]
    list: bool,
}

/// Runs to its end.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let What::Test(flags) = match Options::try_parse_from(arguments) {
        Ok(options) => options.what,
        Err(error) => {
            // Nothing better can be done where stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let unknown = flags.tests.iter().find(|name| SCENARIOS.iter().all(|known| known.name != **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        eprintln!(
            "keelson connectivity test: there is no scenario {name:?}; scenarios are: {}",
            known.join(", ")
        );
        return ExitCode::from(USAGE);
    }
    if flags.list {
        SCENARIOS.iter().for_each(|scenario| println!("{:<20} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("starting").and_then(|runtime| runtime.block_on(run(&flags)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("keelson connectivity test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What scenarios need.
struct Stage {
    client: Client,
    namespace: String,
    node: String,
    image: String,
    pull: &'static str,
    pods: Cache,
    changed: Arc<Notify>,
}

async fn run(flags: &Flags) -> anyhow::Result<bool> {
    let config = Config::read(&flags.kubeconfig).context("--kubeconfig")?;
    let client = Client::new(config, "keelson-connectivity", Surroundings::system())?;
    let (image, pull) = match &flags.image {
        Some(image) => (image.clone(), "IfNotPresent"),
        None => (import(flags)?, "Never"),
    };
    let own = || rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let node = flags.node_name.clone().unwrap_or_else(own);
    let namespace = format!("connectivity-{}", std::process::id());
    let selection = Selection { namespace: namespace.clone(), ..Selection::default() };
    let pods = Cache::start(client.clone(), Resource::PODS, selection);
    let changed = Arc::new(Notify::new());
    let tell = changed.clone();
    pods.subscribe(move |_| tell.notify_one());
    let stage = Stage { client, namespace, node, image, pull, pods, changed };
    let wanted =
        |scenario: &&Scenario| flags.tests.is_empty() || flags.tests.iter().any(|name| name == scenario.name);
    let told = tokio::select! {
        told = stage.tell(SCENARIOS.iter().filter(wanted)) => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let cleaned = stage.client.delete(&Resource::NAMESPACES, "", &stage.namespace, None, None).await;
    cleaned.with_context(|| format!("deleting namespace {}", stage.namespace)).and(told)
}

/// Makes an image of this executable known to the node.
fn import(flags: &Flags) -> anyhow::Result<String> {
    let folder = std::env::temp_dir().join(format!("keelson-connectivity-{}", std::process::id()));
    let written = image::write(&folder).and_then(|()| {
        let mut command = Command::new("/proc/self/exe");
        command.args(["image", "import", "--address", &flags.cri_address]).arg(&folder);
        let output = command.stdout(std::process::Stdio::null()).output().context("importing the image")?;
        ensure!(output.status.success(), "importing the image: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    });
    // Nothing of it is needed any more, whatever came of it.
    let _ = std::fs::remove_dir_all(&folder);
    written.map(|()| image::NAME.to_owned())
}

impl Stage {
    /// Sets up, and tries one after the other. Whether all passed.
    async fn tell(&self, scenarios: impl Iterator<Item = &Scenario>) -> anyhow::Result<bool> {
        let namespace = json!({"metadata": {"name": self.namespace}});
        self.client.create(&Resource::NAMESPACES, "", &namespace).await.context("making a namespace")?;
        let server = self.pod(SERVER, &json!({"app": SERVER}), &[]);
        self.create_when_admitted(&server).await?;
        let service = json!({"metadata": {"name": SERVER}, "spec": {"type": "NodePort",
            "selector": {"app": SERVER}, "ports": [{"port": 80, "targetPort": workload::PORT}]}});
        self.client
            .create(&Resource::SERVICES, &self.namespace, &service)
            .await
            .context("making a Service")?;
        self.until(SERVER, |pod| {
            let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready))
        })
        .await
        .context("the server does not run")?;
        let (mut passed, mut failed, mut applied) = (0, 0, "");
        for scenario in scenarios {
            if scenario.policy != applied {
                self.apply(scenario.policy).await?;
                applied = scenario.policy;
            }
            let begun = Instant::now();
            let outcome = self.try_out(scenario).await;
            let seconds = begun.elapsed().as_secs_f32();
            match outcome {
                Ok(()) => {
                    passed += 1;
                    println!("pass  {:<20} {seconds:.2}s  {}", scenario.name, scenario.about);
                }
                Err(error) => {
                    failed += 1;
                    println!("FAIL  {:<20} {seconds:.2}s  {}: {error:#}", scenario.name, scenario.about);
                }
            }
        }
        println!("{passed} passed, {failed} failed");
        Ok(failed == 0)
    }

    async fn try_out(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let target = self.target(scenario.to).await?;
        let heard = match scenario.from {
            From::Host => {
                let address = target.parse::<SocketAddr>()?;
                workload::get(address)
                    .await
                    .map_err(anyhow::Error::from)
                    .and_then(|a| workload::who(&a))
                    .map(drop)
            }
            From::Pod(labels) => self.call(scenario.name, labels, &target).await,
        };
        match (heard, scenario.passes) {
            (Ok(()), true) => Ok(()),
            (Err(_), false) => Ok(()),
            (Ok(()), false) => bail!("{target} answered, and must not"),
            (Err(error), true) => Err(error).with_context(|| format!("{target} did not answer")),
        }
    }

    /// A pod that calls once and ends.
    async fn call(&self, name: &str, labels: &[(&str, &str)], target: &str) -> anyhow::Result<()> {
        let labels: Value = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let arguments = ["--call", target, "--times", "1"];
        self.create_when_admitted(&self.pod(name, &labels, &arguments)).await?;
        let over = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pod = self.until(name, over).await?;
        let words = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
        ensure!(pod["status"]["phase"] == "Succeeded", "{}", words.as_str().unwrap_or("it failed"));
        Ok(())
    }

    async fn target(&self, target: Target) -> anyhow::Result<String> {
        let service = self.client.get(&Resource::SERVICES, &self.namespace, SERVER).await?;
        let (spec, port) = (&service["spec"], workload::PORT);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let socket = |address: &str, port: u64| {
            let address: IpAddr = address.parse().with_context(|| format!("{address:?} is no address"))?;
            anyhow::Ok(SocketAddr::new(address, u16::try_from(port)?).to_string())
        };
        match target {
            Target::Pod => {
                let pod = self.client.get(&Resource::PODS, &self.namespace, SERVER).await?;
                socket(&text(&pod["status"]["podIP"]), port.into())
            }
            Target::Service => socket(&text(&spec["clusterIP"]), 80),
            Target::Name => Ok(format!("{SERVER}.{}.svc:80", self.namespace)),
            Target::NodePort => {
                let node = self.client.get(&Resource::NODES, "", &self.node).await?;
                let addresses = node["status"]["addresses"].as_array().cloned().unwrap_or_default();
                let internal = addresses.iter().find(|address| address["type"] == "InternalIP");
                let address = internal.context("the node has no InternalIP")?;
                socket(&text(&address["address"]), spec["ports"][0]["nodePort"].as_u64().unwrap_or(0))
            }
        }
    }

    /// Puts a policy in the place of the one before; none: of the empty name.
    async fn apply(&self, name: &str) -> anyhow::Result<()> {
        self.client.delete_collection(&Resource::NETWORK_POLICIES, &self.namespace).await?;
        if let Some(policy) = scenario::policy(name) {
            self.client.create(&Resource::NETWORK_POLICIES, &self.namespace, &policy).await?;
        }
        // Nobody says when a policy is in place on every node.
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    fn pod(&self, name: &str, labels: &Value, arguments: &[&str]) -> Value {
        json!({"metadata": {"name": name, "labels": labels}, "spec": {
            "nodeName": self.node, "restartPolicy": if arguments.is_empty() { "Always" } else { "Never" },
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": self.image, "imagePullPolicy": self.pull,
                "command": [image::PROGRAM, "demo-workload"], "args": arguments,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}]}})
    }

    /// A new namespace has no account at first, and without one no pod is admitted.
    async fn create_when_admitted(&self, pod: &Value) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.client.create(&Resource::PODS, &self.namespace, pod).await {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() < PATIENCE && error.to_string().contains("serviceaccount") => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error).context("making a pod"),
            }
        }
    }

    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let key = Key::new(&*self.namespace, name);
        let waiting = async {
            loop {
                if let Some(pod) = self.pods.get(&key).filter(|pod| holds(pod.value())) {
                    return pod.value().clone();
                }
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .with_context(|| format!("pod {name}: not within {PATIENCE:?}"))
    }
}
