//! Pods per topology domain: a domain is all nodes with the same value of a label.

use std::collections::{BTreeMap, HashMap};

/// A number for each domain of one label.
///
/// **Invariant.** `sizes` says how many domains have each number, so the smallest is at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    counts: HashMap<String, i64>,
    sizes: BTreeMap<i64, usize>,
}

impl Domains {
    /// Adds to a domain's number; adding nothing makes the domain known.
    pub fn add(&mut self, domain: &str, more: i64) {
        let before = self.counts.get(domain).copied();
        if before.is_some() && more == 0 {
            return;
        }
        let after = before.unwrap_or_default() + more;
        match self.counts.get_mut(domain) {
            Some(count) => *count = after,
            None => drop(self.counts.insert(domain.to_owned(), after)),
        }
        if let Some(before) = before
            && let Some(size) = self.sizes.get_mut(&before)
        {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&before);
            }
        }
        *self.sizes.entry(after).or_default() += 1;
    }

    /// None where the domain is not known.
    pub fn get(&self, domain: &str) -> Option<i64> {
        self.counts.get(domain).copied()
    }

    pub fn fewest(&self) -> Option<i64> {
        self.sizes.first_key_value().map(|(count, _)| *count)
    }

    pub fn len(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_are_known() {
        let mut domains = Domains::default();
        assert_eq!((domains.fewest(), domains.len(), domains.get("a")), (None, 0, None));
        for (domain, more, fewest) in
            [("a", 2, 2), ("b", 0, 0), ("b", 3, 2), ("c", 2, 2), ("a", 1, 2), ("c", 5, 3), ("b", -3, 0)]
        {
            domains.add(domain, more);
            assert_eq!(domains.fewest(), Some(fewest), "{domain} {more}");
        }
        assert_eq!((domains.len(), domains.get("a"), domains.get("d")), (3, Some(3), None));
    }
}
