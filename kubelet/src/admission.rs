//! Whether this node takes a pod that was bound to it: room for its requests and its place among the pods.
//!
//! The scheduler has counted before; this catches what was bound past it. Pods that the node already runs are
//! counted and never refused.
//!
//! Reference: upstream's `lifecycle/predicate.go`, whose reasons and messages these are.

pub mod sysctls;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::pod::{Pod, PodUid, Role};
use crate::qos::{self, QosClass};
use crate::resources::Amounts;

/// Who is counted. Clones are not shared: the kubelet has one.
pub struct Admission {
    allocatable: Amounts,
    labels: BTreeMap<String, String>,
    /// Patterns of parameters that pods may set besides the safe ones.
    sysctls: Vec<String>,
    taken: Mutex<BTreeMap<PodUid, (QosClass, Amounts)>>,
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
        Admission { allocatable, labels, sysctls: Vec::new(), taken: Mutex::default() }
    }

    /// Pods may set what fits these, too.
    #[must_use]
    pub fn with_sysctls(self, sysctls: Vec<String>) -> Admission {
        Admission { sysctls, ..self }
    }

    /// Counts the pod if there is room for it, or if it is known to run here already.
    pub fn admit(&self, pod: &Pod, is_known: bool) -> Result<(), Refusal> {
        let wanted = if pod.is_finished() { Amounts::default() } else { requests(pod) };
        let mut taken = self.taken();
        if !is_known {
            self.affinity(pod)?;
            sysctls::check(pod, &self.sysctls)?;
            let mut used = Amounts::default();
            for (_, amounts) in taken.values() {
                used.add(amounts);
            }
            self.room(&wanted, &used, taken.len())?;
        }
        taken.insert(pod.uid.clone(), (qos::class(pod), wanted));
        Ok(())
    }

    pub fn forget(&self, uid: &PodUid) {
        self.taken().remove(uid);
    }

    /// Thousandths of CPUs that burstable pods ask for together.
    pub fn burstable_millis(&self) -> i64 {
        let taken = self.taken();
        let burstable = taken.values().filter(|(class, _)| *class == QosClass::Burstable);
        burstable.map(|(_, amounts)| amounts.cpu_millis).sum()
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<PodUid, (QosClass, Amounts)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn room(&self, wanted: &Amounts, used: &Amounts, pods: usize) -> Result<(), Refusal> {
        let has = &self.allocatable;
        let pods = i64::try_from(pods).unwrap_or(i64::MAX);
        let rows = [
            ("pods", 1, pods, has.pods),
            ("cpu", wanted.cpu_millis, used.cpu_millis, has.cpu_millis),
            ("memory", wanted.memory, used.memory, has.memory),
            ("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage),
        ];
        for (name, wanted, used, capacity) in rows {
            if wanted > 0 && used.saturating_add(wanted) > capacity {
                return Err(Refusal {
                    reason: format!("OutOf{name}"),
                    message: format!(
                        "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
                    ),
                });
            }
        }
        Ok(())
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
}
