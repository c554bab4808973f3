//! A Deployment of another size in mid-rollout: its sets grow and shrink in proportion. Pure.
//!
//! Reference: upstream's `scale` in pkg/controller/deployment/sync.go and "Proportional scaling" in the documentation.

use std::cmp::Reverse;

use serde_json::Value;

use super::replicas::{allowance, is_rolling, wanted};
use super::revision::{self, DESIRED, MAX};
use crate::fields::{int, text};

/// The size in the sets' notes is not the wanted one: only the size changed.
pub(super) fn is_due(deployment: &Value, sets: &[Value]) -> bool {
    sets.iter().filter(|set| size(set) > 0).any(|set| {
        let noted = revision::annotation(set, DESIRED).and_then(|text| text.parse::<i64>().ok());
        noted.is_some_and(|noted| noted != wanted(deployment))
    })
}

fn size(set: &Value) -> i64 {
    int(set, "/spec/replicas")
}

/// New sizes, by index of `sets`, of those that change. `current` is an index.
pub(super) fn sizes(deployment: &Value, sets: &[Value], current: Option<usize>) -> Vec<(usize, i64)> {
    let wanted = wanted(deployment);
    if let Some(only) = only_one(sets, current) {
        return if size(&sets[only]) == wanted { vec![] } else { vec![(only, wanted)] };
    }
    let active: Vec<usize> = (0..sets.len()).filter(|index| size(&sets[*index]) > 0).collect();
    if current.is_some_and(|current| is_saturated(deployment, &sets[current])) {
        return active.into_iter().filter(|index| Some(*index) != current).map(|index| (index, 0)).collect();
    }
    if !is_rolling(deployment) {
        return vec![];
    }
    proportional(deployment, sets, active)
}

/// The one set that counts: the active one, or where none is the current or latest.
fn only_one(sets: &[Value], current: Option<usize>) -> Option<usize> {
    let mut active = (0..sets.len()).filter(|index| size(&sets[*index]) > 0);
    match (active.next(), active.next()) {
        (None, _) => current.or_else(|| {
            (0..sets.len()).max_by_key(|index| text(&sets[*index], "/metadata/creationTimestamp"))
        }),
        (Some(one), None) => Some(one),
        _ => None,
    }
}

fn is_saturated(deployment: &Value, set: &Value) -> bool {
    let wanted = wanted(deployment);
    let noted = revision::annotation(set, DESIRED).and_then(|text| text.parse().ok());
    size(set) == wanted && noted == Some(wanted) && int(set, "/status/availableReplicas") == wanted
}

fn proportional(deployment: &Value, sets: &[Value], mut active: Vec<usize>) -> Vec<(usize, i64)> {
    let wanted = wanted(deployment);
    let allowed = if wanted > 0 { wanted + allowance(deployment).surge } else { 0 };
    let add = allowed - active.iter().map(|index| size(&sets[*index])).sum::<i64>();
    let created = |index: usize| text(&sets[index], "/metadata/creationTimestamp");
    // The largest first; among equals the newest grows first and the oldest shrinks first.
    if add > 0 {
        active.sort_by_key(|index| (Reverse(size(&sets[*index])), Reverse(created(*index))));
    } else {
        active.sort_by_key(|index| (Reverse(size(&sets[*index])), created(*index)));
    }
    let mut added = 0;
    let mut sizes: Vec<(usize, i64)> = Vec::new();
    for index in active {
        let share = share(deployment, &sets[index], add, added);
        added += share;
        sizes.push((index, size(&sets[index]) + share));
    }
    if let Some((_, largest)) = sizes.first_mut().filter(|_| add != 0) {
        *largest = (*largest + add - added).max(0);
    }
    // Also those whose size stays: their notes must say the new one.
    sizes
}

/// How much of `add` a set gets.
fn share(deployment: &Value, set: &Value, add: i64, added: i64) -> i64 {
    if size(set) == 0 || add == 0 || add == added {
        return 0;
    }
    let fraction = fraction(deployment, set);
    if add > 0 { fraction.min(add - added) } else { fraction.max(add - added) }
}

fn fraction(deployment: &Value, set: &Value) -> i64 {
    let wanted = wanted(deployment);
    if wanted == 0 {
        return -size(set);
    }
    let noted = revision::annotation(set, MAX).and_then(|text| text.parse::<i64>().ok());
    let before =
        noted.filter(|noted| *noted > 0).unwrap_or_else(|| int(deployment, "/status/replicas")).max(1);
    let total = size(set) * (wanted + allowance(deployment).surge);
    // Rounded to the nearest.
    (2 * total + before) / (2 * before) - size(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(size: i64, noted: i64, max: i64, created: &str) -> Value {
        json!({"metadata": {"creationTimestamp": created,
            "annotations": {DESIRED: noted.to_string(), MAX: max.to_string()}}, "spec": {"replicas": size}})
    }

    #[test]
    fn the_documentations_example() {
        // 10 replicas, surge 3, unavailable 2: 8 old and 5 new become 11 and 7 of 15 (18 with surge).
        let deployment = json!({"spec": {"replicas": 15, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}});
        let sets = [set(8, 10, 13, "2026-01-01T00:00:00Z"), set(5, 10, 13, "2026-01-02T00:00:00Z")];
        assert!(is_due(&deployment, &sets));
        assert_eq!(sizes(&deployment, &sets, Some(1)), [(0, 11), (1, 7)]);
    }

    #[test]
    fn one_set_follows() {
        let deployment = json!({"spec": {"replicas": 7}});
        assert_eq!(sizes(&deployment, &[set(4, 4, 5, "a")], Some(0)), [(0, 7)]);
        assert_eq!(sizes(&deployment, &[set(7, 7, 9, "a")], Some(0)), []);
        assert_eq!(sizes(&deployment, &[set(0, 0, 0, "a"), set(0, 0, 0, "b")], None), [(1, 7)]);
        assert!(!is_due(&deployment, &[set(0, 4, 5, "a")]));
        let none = json!({"spec": {"replicas": 0}});
        assert_eq!(sizes(&none, &[set(4, 5, 6, "a"), set(2, 5, 6, "b")], Some(1)), [(0, 0), (1, 0)]);
    }
}
