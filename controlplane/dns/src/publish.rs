//! How pods reach this server: Service kube-dns at a fixed address, and this node's own EndpointSlice for it.
//!
//! ```text
//! Service kube-system/kube-dns   CLUSTER-DNS:53, internalTrafficPolicy Local, no selector
//!   EndpointSlice kube-dns-NODE  NODE-IP:10053, owned by the Node      (one per node and family)
//! ```
//!
//! A Service of that name that is not ours (its label says whose it is) is left alone: somebody runs another DNS.
//! Nothing is taken back at the end: the next start finds it right, and a Node that is deleted takes its slice along.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Backoff, Cache, Client, ClientError, Key, Resource};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";
/// The port that pods know.
const PORT: u16 = 53;
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "keelson";
const SLICE_MANAGER: &str = "keelson-dns";
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The Node may register after us.
const OWNER_WAIT: Duration = Duration::from_secs(15);

/// What shall be there.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    pub node: String,
    /// The Service's own address.
    pub cluster_dns: IpAddr,
    /// Where this server is reached, at most one per family.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
}

/// A change to make.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    CreateService(Value),
    UpdateService(Value),
    CreateSlice(Value),
    UpdateSlice(Value),
    /// The Service cannot become what is desired; why.
    GiveUp(String),
}

pub(crate) struct Publisher {
    pub client: Client,
    pub services: Cache,
    pub slices: Cache,
    pub desired: Desired,
}

impl Publisher {
    /// Keeps Service and slice as desired until `stopping`.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let changed = Arc::new(Notify::new());
        for cache in [&self.services, &self.slices] {
            let changed = changed.clone();
            cache.subscribe(move |change| {
                if change.key.namespace == NAMESPACE && change.key.name.starts_with(SERVICE) {
                    changed.notify_one();
                }
            });
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = async { tokio::join!(self.services.synced(), self.slices.synced()); } => {}
        }
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let wait = match self.pass().await {
                Ok(wait) => {
                    backoff.reset();
                    wait
                }
                Err(error) => {
                    tracing::warn!(%error, "Service kube-dns is not as it should be yet");
                    Some(backoff.next(self.client.surroundings().random))
                }
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { () = stopping.cancelled() => return, () = changed.notified() => {}, () = due => {} }
        }
    }

    /// Compares once; how long to wait with the next look, if nothing changes.
    async fn pass(&self) -> Result<Option<Duration>, ClientError> {
        let (owner, wait) = match self.client.get(&Resource::NODES, "", &self.desired.node).await {
            Ok(node) => (node["metadata"]["uid"].as_str().map(str::to_owned), None),
            Err(error) if error.is_not_found() => (None, Some(OWNER_WAIT)),
            Err(error) => {
                tracing::debug!(%error, "the slice is published without its owner");
                (None, None)
            }
        };
        let service = self.services.get(&Key::new(NAMESPACE, SERVICE));
        let slices = self.slices.list(NAMESPACE);
        let observed: Vec<&Value> = slices.iter().map(|slice| slice.value()).collect();
        let service = service.as_ref().map(|service| service.value());
        for step in plan(&self.desired, owner.as_deref(), service, &observed) {
            match self.execute(step).await {
                // The cache is behind: its news brings us here again.
                Err(error) if error.is_conflict() || error.already_exists() => {}
                done => done?,
            }
        }
        Ok(wait)
    }

    async fn execute(&self, step: Step) -> Result<(), ClientError> {
        let (services, slices) = (&Resource::SERVICES, &Resource::ENDPOINT_SLICES);
        match step {
            Step::CreateService(service) => self.client.create(services, NAMESPACE, &service).await.map(drop),
            Step::UpdateService(service) => self.client.update(services, &service).await.map(drop),
            Step::CreateSlice(slice) => self.client.create(slices, NAMESPACE, &slice).await.map(drop),
            Step::UpdateSlice(slice) => self.client.update(slices, &slice).await.map(drop),
            Step::GiveUp(why) => {
                tracing::warn!(why, "Service kube-system/kube-dns is left as it is");
                Ok(())
            }
        }
    }
}

/// What has to change. `owner` is the UID of the Node, where it is known.
pub(crate) fn plan(
    desired: &Desired,
    owner: Option<&str>,
    service: Option<&Value>,
    slices: &[&Value],
) -> Vec<Step> {
    let mut steps = Vec::new();
    let wanted = desired_service(desired);
    match service {
        None => steps.push(Step::CreateService(wanted)),
        Some(there) if there["metadata"]["labels"][MANAGED_BY] != MANAGER => {
            return vec![Step::GiveUp(format!(
                "it is not labelled {MANAGED_BY}={MANAGER}: somebody else runs the cluster's DNS"
            ))];
        }
        Some(there) if there["spec"]["clusterIP"] != wanted["spec"]["clusterIP"] => {
            return vec![Step::GiveUp(format!(
                "its address is {}, not {}, and cannot be changed: delete it, or give --cluster-dns",
                there["spec"]["clusterIP"], desired.cluster_dns
            ))];
        }
        Some(there) if covers(there, &wanted) => {}
        Some(there) => steps.push(Step::UpdateService(overlay(there, &wanted))),
    }
    for address in &desired.addresses {
        let wanted = desired_slice(desired, owner, *address);
        let name = &wanted["metadata"]["name"];
        match slices.iter().find(|slice| slice["metadata"]["name"] == *name) {
            None => steps.push(Step::CreateSlice(wanted)),
            Some(there) if covers(there, &wanted) => {}
            Some(there) => steps.push(Step::UpdateSlice(overlay(there, &wanted))),
        }
    }
    steps
}

fn desired_service(desired: &Desired) -> Value {
    let port = |name: &str, protocol: &str| json!({"name": name, "port": PORT, "protocol": protocol, "targetPort": desired.port});
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE, "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", MANAGED_BY: MANAGER}},
        "spec": {"clusterIP": desired.cluster_dns.to_string(), "type": "ClusterIP",
            "internalTrafficPolicy": "Local", "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")]},
    })
}

fn desired_slice(desired: &Desired, owner: Option<&str>, address: IpAddr) -> Value {
    let (family, suffix) = if address.is_ipv4() { ("IPv4", "") } else { ("IPv6", "-v6") };
    let port = |name: &str, protocol: &str| json!({"name": name, "port": desired.port, "protocol": protocol});
    let mut metadata = json!({
        "name": format!("{SERVICE}-{}{suffix}", desired.node), "namespace": NAMESPACE,
        "labels": {"kubernetes.io/service-name": SERVICE, "endpointslice.kubernetes.io/managed-by": SLICE_MANAGER},
    });
    if let Some(uid) = owner {
        metadata["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": desired.node, "uid": uid}]);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": family,
        "endpoints": [{"addresses": [address.to_string()], "nodeName": desired.node,
            "conditions": {"ready": true, "serving": true, "terminating": false}}],
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
    })
}

/// Whether everything wanted is there; what else is there does not matter.
fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| there.get(field).is_some_and(|there| covers(there, wanted)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| covers(there, wanted))
        }
        _ => there == wanted,
    }
}

/// What is there, with what is wanted written over it.
fn overlay(there: &Value, wanted: &Value) -> Value {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut merged = there.clone();
            for (field, wanted) in wanted {
                let below = merged.get(field).unwrap_or(&Value::Null);
                let value = overlay(below, wanted);
                merged.insert(field.clone(), value);
            }
            Value::Object(merged)
        }
        _ => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired() -> Desired {
        Desired {
            node: "n1".into(),
            cluster_dns: "10.96.0.10".parse().unwrap(),
            addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            port: 10053,
        }
    }

    fn made(steps: Vec<Step>) -> (Value, Vec<Value>) {
        let (mut services, mut slices) = (vec![], vec![]);
        for step in steps {
            match step {
                Step::CreateService(service) | Step::UpdateService(service) => services.push(service),
                Step::CreateSlice(slice) | Step::UpdateSlice(slice) => slices.push(slice),
                Step::GiveUp(why) => panic!("{why}"),
            }
        }
        (services.pop().unwrap_or_default(), slices)
    }

    #[test]
    fn converges_and_heals() {
        let desired = desired();
        let (mut service, slices) = made(plan(&desired, None, None, &[]));
        assert_eq!(slices[1]["metadata"]["name"], "kube-dns-n1-v6");
        // The server adds what we do not care for.
        service["spec"]["clusterIPs"] = json!(["10.96.0.10"]);
        service["metadata"]["resourceVersion"] = "4".into();
        let there: Vec<&Value> = slices.iter().collect();
        assert_eq!(plan(&desired, None, Some(&service), &there), []);
        // The Node is known now: only the slices change.
        let (none, owned) = made(plan(&desired, Some("u"), Some(&service), &there));
        assert_eq!((none, owned.len()), (Value::Null, 2));
        assert_eq!(owned[0]["metadata"]["ownerReferences"][0]["uid"], "u");
        // Somebody meddles.
        service["spec"]["internalTrafficPolicy"] = "Cluster".into();
        let (healed, none) = made(plan(&desired, None, Some(&service), &there));
        assert_eq!(healed["spec"]["internalTrafficPolicy"], "Local");
        assert_eq!(
            (&healed["metadata"]["resourceVersion"], &healed["spec"]["clusterIPs"][0], none.len()),
            (&"4".into(), &"10.96.0.10".into(), 0)
        );
    }

    #[test]
    fn another_dns_is_left_alone() {
        let (service, _) = made(plan(&desired(), None, None, &[]));
        let mut foreign = service.clone();
        foreign["metadata"]["labels"] = json!({"k8s-app": "kube-dns"});
        assert!(matches!(plan(&desired(), None, Some(&foreign), &[]).as_slice(), [Step::GiveUp(_)]));
        let mut elsewhere = service;
        elsewhere["spec"]["clusterIP"] = "10.96.0.11".into();
        assert!(matches!(plan(&desired(), None, Some(&elsewhere), &[]).as_slice(), [Step::GiveUp(_)]));
    }
}
