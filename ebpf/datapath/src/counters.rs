//! What was dropped and why, summed over the CPUs.

use std::collections::BTreeMap;

use abi::{COUNTERS, Counter};
use aya::maps::PerCpuArray;

use crate::error::DatapathError;
use crate::pins::Pins;
use crate::tables::{failed, open};

/// Since the data path was first loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    values: BTreeMap<Counter, u64>,
}

impl Counters {
    pub(crate) fn read(pins: &Pins) -> Result<Counters, DatapathError> {
        let map = open(pins, "COUNTERS")?;
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(map).map_err(failed("COUNTERS", "opening it"))?;
        let mut values = BTreeMap::new();
        for (counter, _) in COUNTERS {
            let cells = map.get(&(*counter as u32), 0).map_err(failed("COUNTERS", "reading a counter"))?;
            values.insert(*counter, cells.iter().sum());
        }
        Ok(Counters { values })
    }

    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values.get(&counter).copied().unwrap_or(0)
    }

    /// Stable names and values, for metrics.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTERS.iter().map(|(counter, name)| (*name, self.get(*counter)))
    }

    /// Dropped packets for every reason together.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.named().filter(|(name, _)| name.starts_with("drop_")).map(|(_, value)| value).sum()
    }
}
