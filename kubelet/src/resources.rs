//! Amounts of CPU, memory and storage, as far as the kubelet counts with them.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use serde_json::Value;

/// An amount of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_millis: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    pub pods: i64,
    /// Extended resources, huge pages.
    pub others: BTreeMap<String, i64>,
}

impl Amounts {
    /// Of a map from resource names to quantities.
    pub fn read(list: &Value) -> Amounts {
        let mut out = Amounts::default();
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
}

impl Amounts {
    pub fn add(&mut self, more: &Amounts) {
        self.each(more, i64::saturating_add);
    }

    /// The larger of both, resource by resource.
    pub fn raise(&mut self, least: &Amounts) {
        self.each(least, i64::max);
    }

    fn each(&mut self, other: &Amounts, join: fn(i64, i64) -> i64) {
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
