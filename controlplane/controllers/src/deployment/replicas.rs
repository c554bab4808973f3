//! Numbers of replicas: of sets, and how many more or fewer a rollout may have. Pure.

use serde_json::Value;

use crate::fields::{int, text};

/// What a rolling update allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub surge: i64,
    pub unavailable: i64,
}

pub(super) fn is_rolling(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") != "Recreate"
}

pub(super) fn wanted(deployment: &Value) -> i64 {
    deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

/// Percentages of the wanted replicas: surge rounded up, unavailable down; never both nothing.
pub(super) fn allowance(deployment: &Value) -> Allowance {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) {
        return Allowance { surge: 0, unavailable: 0 };
    }
    let of = |field: &str, up: bool| {
        let value = deployment.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
        resolve(value, wanted, up)
    };
    let (surge, unavailable) = (of("maxSurge", true), of("maxUnavailable", false));
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Allowance { surge, unavailable: unavailable.min(wanted) }
}

fn resolve(value: Option<&Value>, total: i64, up: bool) -> i64 {
    match value {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
        other => {
            let text = other.and_then(Value::as_str).unwrap_or("25%");
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let whole = percent.saturating_mul(total);
            if up { whole.saturating_add(99) / 100 } else { whole / 100 }
        }
    }
}

/// Sum of what the sets are to have.
pub(super) fn specified<'a>(sets: impl IntoIterator<Item = &'a Value>) -> i64 {
    sets.into_iter().map(|set| int(set, "/spec/replicas")).sum()
}

/// Sum of a number in the sets' status.
pub(super) fn counted<'a>(sets: impl IntoIterator<Item = &'a Value>, field: &str) -> i64 {
    sets.into_iter().map(|set| int(set, &format!("/status/{field}"))).sum()
}

/// How many the current set shall have now.
pub(super) fn of_current(deployment: &Value, sets: &[Value], current: i64) -> i64 {
    let wanted = wanted(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let most = wanted + allowance(deployment).surge;
    let there = specified(sets);
    if there >= most { current } else { current + (most - there).min(wanted - current) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn allowances() {
        for (replicas, surge, unavailable, expect) in [
            (4, json!("25%"), json!("25%"), (1, 1)),
            (10, json!("25%"), json!("25%"), (3, 2)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (3, json!(0), json!("10%"), (0, 1)),
            (2, json!(2), json!(5), (2, 2)),
            (0, json!(1), json!(1), (1, 0)),
        ] {
            let deployment = json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
            let allowed = allowance(&deployment);
            assert_eq!((allowed.surge, allowed.unavailable), expect, "{deployment}");
        }
    }
}
