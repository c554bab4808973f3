//! What the demonstration does with its node, through the API and the network alone.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use client::{Cache, Caches, Client, Config, Key, Resource, Surroundings};
use serde_json::Value;
use tokio::sync::Notify;

use super::cage::{self, Cage};
use super::objects::{self, CALLER, NAMESPACE, WEB};
use super::workload::{CALLS, FIRST_ANSWER_LIMIT, Tally, get, tally_of, who};

/// For each thing that is waited for: a busy machine is slow, a broken one must say so.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks for the API, which nobody can announce.
const API_LOOK: Duration = Duration::from_millis(20);

/// Prints one line per stage, with the time since the last one.
pub struct Stages {
    began: Instant,
    last: Instant,
}

impl Stages {
    pub fn begin() -> Stages {
        let now = Instant::now();
        Stages { began: now, last: now }
    }

    pub fn done(&mut self, what: &str) {
        let now = Instant::now();
        let since = |then: Instant| now.duration_since(then).as_secs_f64();
        println!("{:7.2}s  +{:.2}s  {what}", since(self.began), since(self.last));
        self.last = now;
    }
}

/// The node, seen by its administrator.
pub struct Story<'a> {
    pub folder: &'a Path,
    pub cage: &'a Cage,
    pub replicas: u32,
    pub domain: &'a str,
}

impl Story<'_> {
    /// Tells the whole story. An error names the stage that failed and ends with the node's last lines.
    pub async fn tell(&self, stages: &mut Stages) -> anyhow::Result<()> {
        let done = self.chapters(stages).await;
        done.with_context(|| format!("the node's log ends with:\n{}", cage::last_lines(self.folder)))
    }

    async fn chapters(&self, stages: &mut Stages) -> anyhow::Result<()> {
        let client = self.connect().await.context("waiting for the API")?;
        stages.done("the API answers");
        let caches = Caches::new(client.clone());
        let nodes = caches.of(&Resource::NODES);
        until(&nodes, &Key::new("", super::NODE_NAME), "the node to be Ready", |node| {
            condition(node, "Ready")
        })
        .await?;
        stages.done("the node is Ready");

        client.create(&Resource::DEPLOYMENTS, NAMESPACE, &objects::deployment(self.replicas)).await?;
        let service = client.create(&Resource::SERVICES, NAMESPACE, &objects::service()).await?;
        let deployments = caches.of(&Resource::DEPLOYMENTS);
        let wanted = u64::from(self.replicas);
        until(&deployments, &Key::new(NAMESPACE, WEB), "the deployment to be available", |deployment| {
            deployment["status"]["availableReplicas"].as_u64() == Some(wanted)
        })
        .await?;
        stages.done(&format!("deployment {WEB}: {wanted}/{wanted} pods run and are available"));

        let heard = self.call_by_name(&client, &caches).await.context("calling by name from a pod")?;
        stages.done(&format!(
            "pod → {WEB}.{NAMESPACE}.svc.{}: {}",
            self.domain,
            shown(&heard, self.replicas)?
        ));

        let address = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
        let address = SocketAddr::new(address.parse()?, objects::SERVICE_PORT);
        let heard = call_many(address, self.replicas)
            .await
            .with_context(|| format!("calling {address} from the node"))?;
        stages.done(&format!("node → ClusterIP {address}: {}", shown(&heard, self.replicas)?));

        let port =
            service["spec"]["ports"][0]["nodePort"].as_u64().context("the Service has no node port")?;
        let address = SocketAddr::new(IpAddr::V4(cage::NODE), u16::try_from(port)?);
        let heard = self.call_from_outside(address).context("calling the node port from outside")?;
        stages.done(&format!("{} → NodePort {address}: {}", cage::OUTSIDE, shown(&heard, self.replicas)?));
        Ok(())
    }

    /// The API's first answer.
    async fn connect(&self) -> anyhow::Result<Client> {
        let kubeconfig = self.folder.join("admin.conf");
        let began = Instant::now();
        loop {
            let failed = match Config::read(&kubeconfig) {
                Ok(config) => {
                    let client = Client::new(config, "keelson demo", Surroundings::system())?;
                    match client.get_path("/api").await {
                        Ok(_) => return Ok(client),
                        Err(error) => anyhow::Error::from(error),
                    }
                }
                Err(error) => error.into(),
            };
            if began.elapsed() > PATIENCE {
                return Err(failed);
            }
            tokio::time::sleep(API_LOOK).await;
        }
    }

    async fn call_by_name(&self, client: &Client, caches: &Caches) -> anyhow::Result<Tally> {
        client.create(&Resource::PODS, NAMESPACE, &objects::caller(self.replicas, self.domain)).await?;
        let pods = caches.of(&Resource::PODS);
        let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pod = until(&pods, &Key::new(NAMESPACE, CALLER), "the caller to end", ended).await?;
        let words = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"];
        let words = words.as_str().unwrap_or_default();
        if pod["status"]["phase"] != "Succeeded" {
            bail!("the pod says: {words}");
        }
        serde_json::from_str(words).with_context(|| format!("the pod says {words:?}"))
    }

    /// From a host that is no part of the cluster.
    fn call_from_outside(&self, address: SocketAddr) -> anyhow::Result<Tally> {
        let outside = self.cage.outside()?;
        sys::netns::run_in(outside.as_fd(), || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call_many(address, self.replicas))
        })?
    }
}

async fn call_many(address: SocketAddr, pods: u32) -> anyhow::Result<Tally> {
    tally_of(CALLS, pods, FIRST_ANSWER_LIMIT, async || who(&get(address).await?)).await
}

/// All pods must have answered: what is shown is what is true.
fn shown(heard: &Tally, replicas: u32) -> anyhow::Result<String> {
    let shares: Vec<String> = heard.values().map(u32::to_string).collect();
    if heard.len() != replicas as usize {
        bail!("{} of {replicas} pods answered: {heard:?}", heard.len());
    }
    let calls: u32 = heard.values().sum();
    Ok(format!("{calls} calls, answered {} by {replicas} pods", shares.join("/")))
}

/// Waits for an object to be as wanted; every change of its kind is a reason to look.
async fn until(
    cache: &Cache,
    key: &Key,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let changed = Arc::new(Notify::new());
    let changes = changed.clone();
    cache.subscribe(move |_| changes.notify_one());
    let waiting = async {
        loop {
            if let Some(object) = cache.get(key)
                && wanted(object.value())
            {
                return object.value().clone();
            }
            changed.notified().await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(object) => Ok(object),
        Err(_) => {
            let last = cache.get(key).map(|object| object.value()["status"].to_string()).unwrap_or_default();
            bail!("waiting for {what} took longer than {}s; its status is {last}", PATIENCE.as_secs())
        }
    }
}

fn condition(object: &Value, kind: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
}
