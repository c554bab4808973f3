//! Whether this node takes a pod that was bound to it: room for its requests and its place among the pods.
//!
//! The scheduler has counted before; this catches what was bound past it. Pods that the node already runs are
//! counted and never refused. A resize is granted when there is room for it; one that waits is granted as soon as another
//! pod makes room, the most important one first (`admission/waiting.rs`).
//!
//! Reference: upstream's `lifecycle/predicate.go`, whose reasons and messages these are.

pub mod sysctls;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::pod::{Pod, PodUid, Role};
use crate::qos::{self, QosClass};
use crate::resize::Wait;
use crate::resources::Amounts;
use waiting::Waiting;

/// Who is counted. Clones are not shared: the kubelet has one.
pub struct Admission {
    allocatable: Amounts,
    labels: BTreeMap<String, String>,
    /// Patterns of parameters that pods may set besides the safe ones.
    sysctls: Vec<String>,
    ledger: Mutex<Ledger>,
    /// Counts what was granted to pods that waited.
    grants: watch::Sender<u64>,
}

#[derive(Default)]
struct Ledger {
    taken: BTreeMap<PodUid, (QosClass, Amounts)>,
    /// Resizes for which there is no room now.
    waiting: BTreeMap<PodUid, Waiting>,
    /// Of those that waited so far; tells who waits longest.
    arrivals: u64,
}

/// Why a resize is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    pub wait: Wait,
    pub message: String,
}

/// Why the node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `OutOfcpu`, `NodeAffinity`, ...
    pub reason: String,
    pub message: String,
}

impl Admission {
    pub fn new(allocatable: Amounts, labels: BTreeMap<String, String>) -> Admission {
        let grants = watch::channel(0).0;
        Admission { allocatable, labels, sysctls: Vec::new(), ledger: Mutex::default(), grants }
    }

    /// Pods may set what fits these, too.
    #[must_use]
    pub fn with_sysctls(self, sysctls: Vec<String>) -> Admission {
        Admission { sysctls, ..self }
    }

    /// Counts the pod if there is room for it, or if it is known to run here already.
    pub fn admit(&self, pod: &Pod, is_known: bool) -> Result<(), Refusal> {
        let wanted = if pod.is_finished() { Amounts::default() } else { requests(pod) };
        let mut ledger = self.ledger();
        if !is_known {
            self.affinity(pod)?;
            sysctls::check(pod, &self.sysctls)?;
            let pods = i64::try_from(ledger.taken.len()).unwrap_or(i64::MAX);
            Admission::fits("pods", 1, pods, self.allocatable.pods)?;
            self.room(&wanted, &ledger.used_besides(&pod.uid))?;
        }
        ledger.taken.insert(pod.uid.clone(), (qos::class(pod), wanted));
        Ok(())
    }

    /// Counts what the pod asks for now in place of what it was `granted`, where there is room.
    pub fn resize(&self, asked: &Pod, granted: &Pod) -> Result<(), NoRoom> {
        let (wanted, class) = (requests(asked), qos::class(asked));
        let mut ledger = self.ledger();
        if ledger.taken.get(&asked.uid).is_some_and(|(_, taken)| *taken == wanted) {
            // Only limits change, or there was room meanwhile.
            ledger.waiting.remove(&asked.uid);
            return Ok(());
        }
        let before = requests(granted);
        ledger.taken.insert(asked.uid.clone(), (class, before.clone()));
        self.feasible(&wanted).inspect_err(|_| drop(ledger.waiting.remove(&asked.uid)))?;
        match self.room(&wanted, &ledger.used_besides(&asked.uid)) {
            Ok(()) => {
                ledger.waiting.remove(&asked.uid);
                ledger.taken.insert(asked.uid.clone(), (class, wanted));
                self.grant_waiting(&mut ledger);
                Ok(())
            }
            Err(refusal) => {
                ledger.arrivals += 1;
                let since = ledger.waiting.get(&asked.uid).map_or(ledger.arrivals, |known| known.since);
                let waiting = Waiting::new(asked, class, &before, wanted, since);
                ledger.waiting.insert(asked.uid.clone(), waiting);
                Err(NoRoom { wait: Wait::Deferred, message: refusal.message })
            }
        }
    }

    /// The pod asks for what it has.
    pub fn withdraw(&self, pod: &Pod) {
        let mut ledger = self.ledger();
        let has = (qos::class(pod), requests(pod));
        let given_back = ledger.waiting.remove(&pod.uid).is_some()
            | ledger
                .taken
                .get_mut(&pod.uid)
                .is_some_and(|taken| std::mem::replace(taken, has.clone()) != has);
        if given_back {
            self.grant_waiting(&mut ledger);
        }
    }

    pub fn forget(&self, uid: &PodUid) {
        let mut ledger = self.ledger();
        ledger.waiting.remove(uid);
        if ledger.taken.remove(uid).is_some() {
            self.grant_waiting(&mut ledger);
        }
    }

    /// Changes when a pod that waited was granted its resize.
    pub fn grants(&self) -> watch::Receiver<u64> {
        self.grants.subscribe()
    }

    /// Thousandths of CPUs that burstable pods ask for together.
    pub fn burstable_millis(&self) -> i64 {
        let ledger = self.ledger();
        let burstable = ledger.taken.values().filter(|(class, _)| *class == QosClass::Burstable);
        burstable.map(|(_, amounts)| amounts.cpu_millis).sum()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives room that has become free to those that wait for it.
    fn grant_waiting(&self, ledger: &mut Ledger) {
        let mut granted = 0;
        for uid in waiting::in_order(&ledger.waiting) {
            let Some(waiting) = ledger.waiting.get(&uid) else { continue };
            if self.room(&waiting.wanted, &ledger.used_besides(&uid)).is_ok() {
                let taken = (waiting.class, waiting.wanted.clone());
                ledger.waiting.remove(&uid);
                ledger.taken.insert(uid, taken);
                granted += 1;
            }
        }
        if granted > 0 {
            self.grants.send_modify(|count| *count += granted);
        }
    }

    /// Whether the node, were it empty, has so much.
    fn feasible(&self, wanted: &Amounts) -> Result<(), NoRoom> {
        let has = &self.allocatable;
        let rows = [("memory", wanted.memory, has.memory), ("cpu", wanted.cpu_millis, has.cpu_millis)];
        match rows.into_iter().find(|(_, wanted, has)| wanted > has) {
            None => Ok(()),
            Some((name, wanted, has)) => Err(NoRoom {
                wait: Wait::Infeasible,
                message: format!(
                    "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {has}"
                ),
            }),
        }
    }

    fn affinity(&self, pod: &Pod) -> Result<(), Refusal> {
        let selector = pod.spec()["nodeSelector"].as_object().into_iter().flatten();
        let fits = selector
            .into_iter()
            .all(|(key, value)| self.labels.get(key).map(String::as_str) == value.as_str());
        if fits {
            return Ok(());
        }
        Err(Refusal {
            reason: "NodeAffinity".to_owned(),
            message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
                .to_owned(),
        })
    }

    fn room(&self, wanted: &Amounts, used: &Amounts) -> Result<(), Refusal> {
        let has = &self.allocatable;
        let rows = [
            ("cpu", wanted.cpu_millis, used.cpu_millis, has.cpu_millis),
            ("memory", wanted.memory, used.memory, has.memory),
            ("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage),
        ];
        rows.into_iter()
            .try_for_each(|(name, wanted, used, capacity)| Admission::fits(name, wanted, used, capacity))
    }

    fn fits(name: &str, wanted: i64, used: i64, capacity: i64) -> Result<(), Refusal> {
        if wanted <= 0 || used.saturating_add(wanted) <= capacity {
            return Ok(());
        }
        Err(Refusal {
            reason: format!("OutOf{name}"),
            message: format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            ),
        })
    }
}

impl Ledger {
    fn used_besides(&self, uid: &PodUid) -> Amounts {
        let mut used = Amounts::default();
        self.taken.iter().filter(|(other, _)| *other != uid).for_each(|(_, (_, amounts))| used.add(amounts));
        used
    }
}

/// The most that the pod asks for at one time.
pub fn requests(pod: &Pod) -> Amounts {
    let of = |value: &Value| Amounts::read(&value["resources"]["requests"]);
    let mut sum = Amounts::default();
    for container in &pod.main {
        sum.add(&of(&container.value));
    }
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for container in &pod.init {
        let mut needs = of(&container.value);
        if container.role == Role::Sidecar {
            sum.add(&needs);
            sidecars.add(&needs);
            needs = sidecars.clone();
        } else {
            needs.add(&sidecars);
        }
        starting.raise(&needs);
    }
    sum.raise(&starting);
    let stated = &pod.spec()["resources"]["requests"];
    let whole = Amounts::read(stated);
    if stated.get("cpu").is_some() {
        sum.cpu_millis = whole.cpu_millis;
    }
    if stated.get("memory").is_some() {
        sum.memory = whole.memory;
    }
    sum.add(&Amounts::read(&pod.spec()["overhead"]));
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, cpu: &str, selector: Value) -> Pod {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        Pod::of(json!({"metadata": {"name": uid, "uid": uid},
            "spec": {"containers": [container], "nodeSelector": selector}}))
    }

    #[test]
    fn room_is_counted() {
        let allocatable = Amounts { cpu_millis: 1000, pods: 3, ..Amounts::default() };
        let admission = Admission::new(allocatable, BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]));
        let reason = |pod: &Pod, known| admission.admit(pod, known).err().map(|refusal| refusal.message);
        assert_eq!(reason(&pod("a", "600m", json!({})), false), None);
        assert_eq!(
            reason(&pod("b", "600m", json!({})), false).unwrap(),
            "Node didn't have enough resource: cpu, requested: 600, used: 600, capacity: 1000"
        );
        assert_eq!(reason(&pod("c", "600m", json!({})), true), None, "it runs already");
        admission.forget(&PodUid::new("a"));
        assert!(reason(&pod("d", "100m", json!({"disk": "hdd"})), false).unwrap().contains("NodeAffinity"));
        assert_eq!(reason(&pod("e", "0", json!({"disk": "ssd"})), false), None);
        assert_eq!(reason(&pod("f", "0", json!({})), false), None);
        assert!(reason(&pod("g", "0", json!({})), false).unwrap().contains("pods, requested: 1, used: 3"));
    }

    fn sized(uid: &str, cpu: &str, priority: i64) -> Pod {
        let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        Pod::of(json!({"metadata": {"name": uid, "uid": uid},
            "spec": {"containers": [container], "priority": priority}}))
    }

    #[test]
    fn resizes_wait_for_room() {
        let allocatable = Amounts { cpu_millis: 1000, pods: 9, ..Amounts::default() };
        let admission = Admission::new(allocatable, BTreeMap::new());
        let mut grants = admission.grants();
        for pod in [sized("a", "400m", 0), sized("b", "200m", 0), sized("c", "300m", 5)] {
            admission.admit(&pod, false).unwrap();
        }
        let resize = |uid: &str, to: &str, from: &str, priority: i64| {
            let (asked, granted) = (sized(uid, to, priority), sized(uid, from, priority));
            admission.resize(&asked, &granted).err().map(|no| format!("{}: {}", no.wait.reason(), no.message))
        };
        assert_eq!(
            resize("a", "2", "400m", 0).unwrap(),
            "Infeasible: Node didn't have enough capacity: cpu, requested: 2000, capacity: 1000"
        );
        assert_eq!(
            resize("b", "500m", "200m", 0).unwrap(),
            "Deferred: Node didn't have enough resource: cpu, requested: 500, used: 700, capacity: 1000"
        );
        assert!(resize("c", "600m", "300m", 5).unwrap().starts_with("Deferred"));
        assert!(!grants.has_changed().unwrap());
        // Room for one of them: the more important one has it, though it came later.
        assert_eq!(resize("a", "200m", "400m", 0), None);
        assert!(grants.has_changed().unwrap());
        grants.mark_unchanged();
        assert_eq!(resize("c", "600m", "300m", 5), None, "granted meanwhile");
        assert!(resize("b", "500m", "200m", 0).unwrap().starts_with("Deferred"));
        // A pod that goes makes room, too.
        admission.forget(&PodUid::new("c"));
        assert!(grants.has_changed().unwrap());
        grants.mark_unchanged();
        assert_eq!(resize("b", "500m", "200m", 0), None);
        // Who takes back a wish that was granted meanwhile gives back the room.
        assert!(resize("a", "600m", "200m", 0).unwrap().starts_with("Deferred"));
        admission.withdraw(&sized("b", "100m", 0));
        assert!(grants.has_changed().unwrap());
        assert_eq!(resize("a", "600m", "200m", 0), None);
    }
}
