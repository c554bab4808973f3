//! On which nodes a DaemonSet's pods are missing, too many, or old. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Key, Object};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::surge::{self, Surge};
use crate::fields::{int, is_deleting, list, text};
use crate::history;
use crate::node_fit::{is_repelled, is_wanted};
use crate::pod;

/// Pods made or deleted in one go.
const BURST: usize = 250;

/// What every daemon pod tolerates.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

pub(super) struct Observed {
    /// The pods that are its own.
    pub pods: Vec<Arc<Object>>,
    pub nodes: Vec<Arc<Object>>,
    /// Of the template as it is now.
    pub hash: String,
    /// The last creations and deletions are all in `pods`.
    pub may_manage: bool,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One on each of these nodes.
    Create(Vec<String>),
    Delete(Vec<(Key, String)>),
    /// It has failed: told, and deleted.
    Replace {
        pod: Key,
        uid: String,
        node: String,
    },
}

pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub status: Option<Value>,
    pub look_again: Option<Duration>,
}

/// The revision that a pod was made from.
pub(super) fn hash_of(pod: &Value) -> &str {
    pod["metadata"]["labels"][history::POD_LABEL].as_str().unwrap_or_default()
}

/// The tolerations of the set's pods.
pub(super) fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = list(spec, "/tolerations").to_vec();
    let network = (spec["hostNetwork"] == true).then_some(&NETWORK);
    for (key, effect) in TOLERATED.iter().chain(network) {
        if !all.iter().any(|known| known["key"] == *key && known["effect"] == *effect) {
            all.push(json!({"key": key, "operator": "Exists", "effect": effect}));
        }
    }
    all
}

/// The node that a pod is on, or is made for.
fn node_of(pod: &Value) -> Option<&str> {
    let bound = text(pod, "/spec/nodeName");
    if !bound.is_empty() {
        return Some(bound);
    }
    let terms = pod.pointer(
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms",
    )?;
    let fields = terms.as_array()?.iter().flat_map(|term| list(term, "/matchFields"));
    fields.into_iter().find(|field| field["key"] == "metadata.name")?["values"][0].as_str()
}

pub(super) fn plan(set: &Value, observed: &Observed) -> Plan {
    let mut by_node: BTreeMap<&str, Vec<&Arc<Object>>> = BTreeMap::new();
    for pod in &observed.pods {
        if let Some(node) = node_of(pod.value()) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    let surges = surge::is_allowed(set);
    let tolerations = tolerations(&set["spec"]["template"]["spec"]);
    let mut found = Found::default();
    for node in &observed.nodes {
        let pods = by_node.remove(node.key.name.as_str()).unwrap_or_default();
        found.look_at((node, pods), set, observed, &tolerations, surges);
    }
    let Found { mut create, mut delete, mut steps, counts, current, surge } = found;
    // Nodes that are gone.
    delete.extend(by_node.into_values().flatten().filter(|pod| !is_deleting(pod.value())));
    if surges {
        create.extend(surge.nodes(set, counts.desired).map(str::to_owned));
        delete.extend(surge.delete);
    } else {
        delete.extend(outdated(set, observed, &counts, &current));
    }
    if observed.may_manage {
        if !delete.is_empty() {
            let chosen = delete.iter().take(BURST).map(|pod| (pod.key.clone(), pod.uid.clone()));
            steps.push(Step::Delete(chosen.collect()));
        }
        if !create.is_empty() {
            create.truncate(BURST);
            steps.push(Step::Create(create));
        }
    } else {
        steps.clear();
    }
    let min_ready = int(set, "/spec/minReadySeconds");
    let waits =
        observed.pods.iter().filter_map(|pod| pod::until_available(pod.value(), min_ready, observed.now));
    let look_again =
        waits.filter(|wait| wait.is_positive()).min().map(|w| w.unsigned_abs() + Duration::from_secs(1));
    Plan { steps, status: counts.status(set), look_again }
}

/// What is missing and too many, node by node.
#[derive(Default)]
struct Found<'a> {
    create: Vec<String>,
    delete: Vec<&'a Arc<Object>>,
    steps: Vec<Step>,
    counts: Counts,
    /// The pods of the nodes that should have one.
    current: Vec<&'a Arc<Object>>,
    surge: Surge<'a>,
}

impl<'a> Found<'a> {
    fn look_at(
        &mut self,
        (node, pods): (&'a Object, Vec<&'a Arc<Object>>),
        set: &Value,
        observed: &Observed,
        tolerations: &[Value],
        surges: bool,
    ) {
        let (name, value) = (node.key.name.as_str(), node.value());
        let wanted = is_wanted(&set["spec"]["template"]["spec"], value);
        let should_run = wanted && !is_repelled(tolerations, value, &["NoSchedule", "NoExecute"]);
        let may_stay = wanted && !is_repelled(tolerations, value, &["NoExecute"]);
        let (over, mut alive): (Vec<&Arc<Object>>, Vec<&Arc<Object>>) =
            pods.into_iter().partition(|pod| pod::is_over(pod.value()));
        for pod in over.iter().filter(|pod| !is_deleting(pod.value())) {
            let (pod, uid) = (pod.key.clone(), pod.uid.clone());
            self.steps.push(Step::Replace { pod, uid, node: name.to_owned() });
        }
        alive.sort_by_key(|pod| {
            (is_deleting(pod.value()), pod.value()["metadata"]["creationTimestamp"].to_string())
        });
        self.counts.add(should_run, alive.first().map(|pod| pod.value()), set, observed);
        if should_run && alive.is_empty() && over.is_empty() {
            self.create.push(name.to_owned());
        }
        // One per node; the oldest stays.
        let keep = usize::from(may_stay);
        let stays = alive.iter().filter(|pod| !is_deleting(pod.value())).copied();
        if surges && should_run {
            let pods = stays.partition(|pod| hash_of(pod.value()) != observed.hash);
            self.surge.add(name, pods, |pod| is_available(pod, set, observed));
        } else {
            self.delete.extend(alive.iter().skip(keep).filter(|pod| !is_deleting(pod.value())).copied());
        }
        if should_run {
            self.current.extend(alive.first());
        }
    }
}

fn is_available(pod: &Value, set: &Value, observed: &Observed) -> bool {
    let min_ready = int(set, "/spec/minReadySeconds");
    !is_deleting(pod) && pod::until_available(pod, min_ready, observed.now).is_some_and(|left| left.is_zero())
}

/// Pods of old templates that may go now: those that do not work, and of the others as many as the strategy allows.
fn outdated<'a>(
    set: &Value,
    observed: &Observed,
    counts: &Counts,
    current: &[&'a Arc<Object>],
) -> Vec<&'a Arc<Object>> {
    if text(set, "/spec/updateStrategy/type") != "RollingUpdate" {
        return Vec::new();
    }
    // Without room for one less an update would never end.
    let most = surge::most(set, ("maxUnavailable", 1), counts.desired).max(1);
    let available = |pod: &Arc<Object>| is_available(pod.value(), set, observed);
    let unavailable = counts.desired - current.iter().filter(|pod| available(pod)).count() as i64;
    let old = || {
        let old = current.iter().copied().filter(|pod| hash_of(pod.value()) != observed.hash);
        old.filter(|pod| !is_deleting(pod.value()))
    };
    let mut chosen: Vec<&Arc<Object>> = old().filter(|pod| !available(pod)).collect();
    let room = usize::try_from(most - unavailable).unwrap_or(0);
    chosen.extend(old().filter(|pod| available(pod)).take(room));
    chosen
}

#[derive(Default)]
struct Counts {
    desired: i64,
    current: i64,
    misscheduled: i64,
    ready: i64,
    updated: i64,
    available: i64,
}

impl Counts {
    fn add(&mut self, should_run: bool, pod: Option<&Value>, set: &Value, observed: &Observed) {
        if !should_run {
            self.misscheduled += i64::from(pod.is_some());
            return;
        }
        self.desired += 1;
        let Some(pod) = pod else { return };
        self.current += 1;
        if pod::is_ready(pod) {
            self.ready += 1;
            let left = pod::until_available(pod, int(set, "/spec/minReadySeconds"), observed.now);
            self.available += i64::from(left.is_some_and(|left| left.is_zero()));
        }
        self.updated += i64::from(hash_of(pod) == observed.hash);
    }

    fn status(&self, set: &Value) -> Option<Value> {
        let mut fresh = Map::new();
        let always = [
            ("currentNumberScheduled", self.current),
            ("numberMisscheduled", self.misscheduled),
            ("desiredNumberScheduled", self.desired),
            ("numberReady", self.ready),
        ];
        for (name, count) in always {
            fresh.insert(name.into(), count.into());
        }
        fresh.insert("observedGeneration".into(), int(set, "/metadata/generation").into());
        let others = [
            ("updatedNumberScheduled", self.updated),
            ("numberAvailable", self.available),
            ("numberUnavailable", self.desired - self.available),
        ];
        for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            fresh.insert(name.into(), count.into());
        }
        for name in ["collisionCount", "conditions"] {
            if let Some(kept) = set["status"].get(name) {
                fresh.insert(name.into(), kept.clone());
            }
        }
        let fresh = Value::Object(fresh);
        (set.get("status") != Some(&fresh)).then_some(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Resource;

    fn node(name: &str, taints: Value) -> Arc<Object> {
        let node = json!({"metadata": {"name": name, "labels": {"n": name}}, "spec": {"taints": taints}});
        Arc::new(Object::of(&Resource::NODES, node))
    }

    fn pod(name: &str, node: &str, hash: &str, ready: bool) -> Arc<Object> {
        let status = if ready { "True" } else { "False" };
        Arc::new(Object::of(
            &Resource::PODS,
            json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"controller-revision-hash": hash}},
                "spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}),
        ))
    }

    fn check(selector: Value, nodes: Vec<Arc<Object>>, pods: Vec<Arc<Object>>, expect: &[&str]) -> Plan {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
        let set = json!({"metadata": {"generation": 1},
            "spec": {"updateStrategy": strategy, "template": {"spec": {"nodeSelector": selector}}}});
        compare(&set, nodes, pods, expect)
    }

    fn check_by(strategy: &Value, nodes: Vec<Arc<Object>>, pods: Vec<Arc<Object>>, expect: &[&str]) {
        let set = json!({"metadata": {"generation": 1}, "spec": {"updateStrategy": strategy, "template": {"spec": {}}}});
        compare(&set, nodes, pods, expect);
    }

    fn compare(set: &Value, nodes: Vec<Arc<Object>>, pods: Vec<Arc<Object>>, expect: &[&str]) -> Plan {
        let observed =
            Observed { pods, nodes, hash: "new".into(), may_manage: true, now: Timestamp::UNIX_EPOCH };
        let plan = plan(set, &observed);
        let mut shown = Vec::new();
        for step in &plan.steps {
            match step {
                Step::Create(nodes) => shown.extend(nodes.iter().map(|node| format!("+{node}"))),
                Step::Delete(pods) => shown.extend(pods.iter().map(|(pod, _)| format!("-{}", pod.name))),
                Step::Replace { pod, .. } => shown.push(format!("~{}", pod.name)),
            }
        }
        assert_eq!(shown, expect);
        plan
    }

    #[test]
    fn one_on_every_node_that_is_wanted() {
        let tainted = json!([{"key": "k", "effect": "NoSchedule"}]);
        let pressed = json!([{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]);
        let nodes = || vec![node("a", json!([])), node("b", tainted.clone()), node("c", pressed.clone())];
        check(json!({}), nodes(), vec![], &["+a", "+c"]);
        check(json!({"n": "a"}), nodes(), vec![], &["+a"]);
        // A pod that is there stays under a NoSchedule taint, and is misplaced.
        let plan = check(json!({}), nodes(), vec![pod("p", "b", "new", true)], &["+a", "+c"]);
        assert_eq!(plan.status.unwrap()["numberMisscheduled"], 1);
        let away = json!([{"key": "k", "effect": "NoExecute"}]);
        check(json!({}), vec![node("a", away)], vec![pod("p", "a", "new", true)], &["-p"]);
        check(json!({}), vec![node("a", json!([]))], vec![pod("p", "gone", "new", true)], &["-p", "+a"]);
        let two = vec![pod("p", "a", "new", true), pod("q", "a", "new", true)];
        check(json!({}), vec![node("a", json!([]))], two, &["-q"]);
    }

    #[test]
    fn a_surge_makes_the_new_one_first() {
        let nodes = || vec![node("a", json!([])), node("b", json!([]))];
        let check = |most: Value, pods: Vec<Arc<Object>>, expect: &[&str]| {
            let rolling = json!({"maxUnavailable": 0, "maxSurge": most});
            check_by(&json!({"type": "RollingUpdate", "rollingUpdate": rolling}), nodes(), pods, expect);
        };
        let (old_a, old_b) = (pod("p", "a", "old", true), pod("q", "b", "old", true));
        let both = || vec![old_a.clone(), old_b.clone()];
        check(json!(1), both(), &["+a"]);
        check(json!("100%"), both(), &["+a", "+b"]);
        // The new one is waited for, and so is the next node.
        let mut begun = both();
        begun.push(pod("r", "a", "new", false));
        check(json!(1), begun, &[]);
        let mut there = both();
        there.push(pod("r", "a", "new", true));
        check(json!(1), there, &["-p", "+b"]);
        // Who serves nobody is not waited for.
        check(json!(1), vec![pod("p", "a", "old", false), old_b.clone()], &["+a", "+b"]);
        let broken =
            vec![pod("p", "a", "old", false), pod("r", "a", "new", false), pod("s", "b", "new", true)];
        check(json!(1), broken, &["-p"]);
    }

    #[test]
    fn an_update_goes_node_by_node() {
        let nodes = || vec![node("a", json!([])), node("b", json!([]))];
        let old = || vec![pod("p", "a", "old", true), pod("q", "b", "old", true)];
        check(json!({}), nodes(), old(), &["-p"]);
        check(json!({}), nodes(), vec![pod("p", "a", "new", false), pod("q", "b", "old", true)], &[]);
        check(json!({}), nodes(), vec![pod("p", "a", "old", false), pod("q", "b", "old", true)], &["-p"]);
        let plan =
            check(json!({}), nodes(), vec![pod("p", "a", "new", true), pod("q", "b", "new", true)], &[]);
        let status = plan.status.unwrap();
        assert_eq!((&status["updatedNumberScheduled"], &status["numberAvailable"]), (&json!(2), &json!(2)));
        assert!(status.get("numberUnavailable").is_none());
    }
}
