//! Amounts of what a node has and a pod asks for.
//!
//! Not usage: nothing here is measured.
//!
//! Reference: upstream's `component-helpers/resource` PodRequests; KEP-753 for sidecars, KEP-2837 for pod-level
//! resources.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use serde_json::{Map, Value};

/// What a container without a CPU request is taken for when nodes are compared, in thousandths.
const ASSUMED_CPU_MILLIS: i64 = 100;
/// What a container without a memory request is taken for when nodes are compared, in bytes.
const ASSUMED_MEMORY: i64 = 200 << 20;

/// An amount of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_millis: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Only in what a node has.
    pub pods: i64,
    /// Extended resources, huge pages.
    pub others: BTreeMap<String, i64>,
}

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub exact: Resources,
    /// The same with an assumed amount for every container that asks for no CPU or memory.
    pub assumed: Resources,
}

impl Resources {
    pub fn read(list: &Value) -> Resources {
        let mut out = Resources::default();
        for (name, amount) in list.as_object().into_iter().flatten() {
            let amount = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
            let Ok(quantity) = Quantity::parse(&amount) else { continue };
            match name.as_str() {
                "cpu" => out.cpu_millis = quantity.millis(),
                "memory" => out.memory = quantity.units(),
                "ephemeral-storage" => out.ephemeral_storage = quantity.units(),
                "pods" => out.pods = quantity.units(),
                other => drop(out.others.insert(other.to_owned(), quantity.units())),
            }
        }
        out
    }

    pub fn is_zero(&self) -> bool {
        self.cpu_millis == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.others.is_empty()
    }

    /// Less of anything than `before`.
    pub fn is_less_than(&self, before: &Resources) -> bool {
        self.cpu_millis < before.cpu_millis
            || self.memory < before.memory
            || self.ephemeral_storage < before.ephemeral_storage
    }

    pub fn add(&mut self, more: &Resources) {
        self.each(more, i64::saturating_add);
    }

    pub fn subtract(&mut self, less: &Resources) {
        self.each(less, i64::saturating_sub);
        self.others.retain(|_, amount| *amount != 0);
    }

    fn raise(&mut self, least: &Resources) {
        self.each(least, i64::max);
    }

    fn each(&mut self, other: &Resources, join: fn(i64, i64) -> i64) {
        self.cpu_millis = join(self.cpu_millis, other.cpu_millis);
        self.memory = join(self.memory, other.memory);
        self.ephemeral_storage = join(self.ephemeral_storage, other.ephemeral_storage);
        self.pods = join(self.pods, other.pods);
        for (name, amount) in &other.others {
            let mine = self.others.entry(name.clone()).or_default();
            *mine = join(*mine, *amount);
        }
    }
}

impl Requests {
    /// Of a pod's `spec`.
    pub fn of(spec: &Value) -> Requests {
        let exact = total(spec, false);
        let assumed = total(spec, true);
        Requests { exact, assumed }
    }
}

/// The most that the pod needs at one time: all containers together, or one init container beside the sidecars
/// started before it.
fn total(spec: &Value, assume: bool) -> Resources {
    let stated = &spec["resources"]["requests"];
    let mut sum = Resources::default();
    for container in containers(spec, "containers") {
        sum.add(&of_container(container, stated, assume));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in containers(spec, "initContainers") {
        let mut needs = of_container(container, stated, assume);
        if container["restartPolicy"] == "Always" {
            sum.add(&needs);
            sidecars.add(&needs);
            needs = sidecars.clone();
        } else {
            needs.add(&sidecars);
        }
        starting.raise(&needs);
    }
    sum.raise(&starting);
    override_by_pod(&mut sum, stated);
    sum.add(&Resources::read(&spec["overhead"]));
    sum
}

fn containers<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    spec[field].as_array().into_iter().flatten()
}

fn of_container(container: &Value, stated: &Value, assume: bool) -> Resources {
    let requests = &container["resources"]["requests"];
    let mut needs = Resources::read(requests);
    if assume {
        let missing = |name: &str| requests.get(name).is_none() && stated.get(name).is_none();
        if missing("cpu") {
            needs.cpu_millis = ASSUMED_CPU_MILLIS;
        }
        if missing("memory") {
            needs.memory = ASSUMED_MEMORY;
        }
    }
    needs
}

/// What the pod states as a whole replaces the sum over its containers.
fn override_by_pod(sum: &mut Resources, stated: &Value) {
    let Some(fields) = stated.as_object() else { return };
    let pod = Resources::read(&Value::Object(
        fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>(),
    ));
    if fields.contains_key("cpu") {
        sum.cpu_millis = pod.cpu_millis;
    }
    if fields.contains_key("memory") {
        sum.memory = pod.memory;
    }
    for (name, amount) in pod.others {
        if name.starts_with("hugepages-") {
            sum.others.insert(name, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    fn sidecar(cpu: &str, memory: &str) -> Value {
        let mut sidecar = container(cpu, memory);
        sidecar["restartPolicy"] = "Always".into();
        sidecar
    }

    fn check(spec: Value, cpu_millis: i64, memory: i64) {
        let exact = Requests::of(&spec).exact;
        assert_eq!((exact.cpu_millis, exact.memory), (cpu_millis, memory), "{spec}");
    }

    #[test]
    fn totals() {
        let two = json!([container("100m", "1k"), container("0.2", "2k")]);
        check(json!({"containers": two}), 300, 3000);
        check(json!({"containers": two, "overhead": {"cpu": "10m", "memory": "1"}}), 310, 3001);
        // The largest init container counts where it needs more than the rest together.
        check(
            json!({"containers": two, "initContainers": [container("1", "1k"), container("250m", "5k")]}),
            1000,
            5000,
        );
        // Sidecars run on; init containers after them run beside them.
        check(json!({"containers": two, "initContainers": [sidecar("50m", "1k")]}), 350, 4000);
        check(
            json!({"containers": two, "initContainers": [sidecar("50m", "1k"), container("1", "1k")]}),
            1050,
            4000,
        );
        check(
            json!({"containers": two, "initContainers": [container("1", "1k"), sidecar("50m", "1k")]}),
            1000,
            4000,
        );
        // The pod's own statement wins.
        check(json!({"containers": two, "resources": {"requests": {"cpu": "2"}}}), 2000, 3000);
        check(json!({"containers": [{}]}), 0, 0);
    }

    #[test]
    fn what_is_not_stated_is_assumed() {
        let spec =
            json!({"containers": [{}, container("1", "1k"), {"resources": {"requests": {"cpu": "0"}}}]});
        let assumed = Requests::of(&spec).assumed;
        assert_eq!((assumed.cpu_millis, assumed.memory), (1100, 1000 + 2 * ASSUMED_MEMORY));
    }

    #[test]
    fn added_and_taken_away() {
        let some = Resources::read(
            &json!({"cpu": "1", "nvidia.com/gpu": "2", "ephemeral-storage": "1Gi", "pods": 110}),
        );
        assert_eq!((some.cpu_millis, some.pods, some.ephemeral_storage), (1000, 110, 1 << 30));
        let mut sum = some.clone();
        sum.add(&some);
        assert_eq!(sum.others["nvidia.com/gpu"], 4);
        sum.subtract(&some);
        assert_eq!(sum, some);
        sum.subtract(&some);
        assert!(sum.is_zero());
    }
}
