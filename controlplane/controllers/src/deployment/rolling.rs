//! How many pods the old sets must give up in a rolling update. Pure.

use serde_json::Value;

use super::replicas::{allowance, specified, wanted};
use crate::fields::int;

/// New sizes of the old sets, which come oldest first: unready replicas go first, then available ones down to
/// what must stay available.
pub(super) fn scale_down(deployment: &Value, current: Option<&Value>, old: &[Value]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|set| int(set, "/spec/replicas")).collect();
    if sizes.iter().all(|size| *size == 0) {
        return sizes;
    }
    let all = || old.iter().chain(current);
    let least = wanted(deployment) - allowance(deployment).unavailable;
    let current_unavailable =
        current.map_or(0, |set| int(set, "/spec/replicas") - int(set, "/status/availableReplicas"));
    let mut may_go = specified(all()) - least - current_unavailable;
    if may_go <= 0 {
        return sizes;
    }
    let mut freed = 0;
    for (size, set) in sizes.iter_mut().zip(old) {
        let unready = (*size - int(set, "/status/availableReplicas")).max(0);
        let goes = unready.min(may_go);
        *size -= goes;
        may_go -= goes;
        freed += goes;
    }
    // A set that has just become smaller still counts pods that are on their way out.
    let stays = |set: &Value| int(set, "/status/availableReplicas").min(int(set, "/spec/replicas"));
    let mut available_may_go = all().map(stays).sum::<i64>() - least;
    for size in &mut sizes {
        let goes = (*size).min(available_may_go.max(0));
        *size -= goes;
        available_may_go -= goes;
    }
    tracing::trace!(freed, "replicas that were not available go first");
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(size: i64, available: i64) -> Value {
        json!({"spec": {"replicas": size}, "status": {"availableReplicas": available}})
    }

    #[test]
    fn never_below_what_must_be_available() {
        let deployment = json!({"spec": {"replicas": 4, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}});
        for (current, old, expect) in [
            (Some(set(1, 0)), vec![set(4, 4)], vec![3]),
            (Some(set(2, 0)), vec![set(3, 3)], vec![3]),
            (Some(set(2, 1)), vec![set(3, 3)], vec![2]),
            (Some(set(4, 4)), vec![set(1, 1)], vec![0]),
            (Some(set(2, 1)), vec![set(3, 4)], vec![2]),
            (Some(set(1, 0)), vec![set(2, 0), set(2, 2)], vec![1, 2]),
            (Some(set(2, 0)), vec![set(3, 2)], vec![3]),
            (None, vec![set(0, 0)], vec![0]),
        ] {
            assert_eq!(scale_down(&deployment, current.as_ref(), &old), expect, "{current:?} {old:?}");
        }
    }
}
