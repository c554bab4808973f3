//! What to do about a ServiceCIDR. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::ip_address;
use api::time::format_seconds;
use client::Object;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::fields::{condition, is_deleting, list, text, time};

pub(super) const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Until all servers know that a range gives nothing more.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It may not go unasked.
    Protect,
    /// It may go.
    Release,
    /// Whether it is ready, and why not.
    Say(Value),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub look_again: Option<Duration>,
}

pub(super) fn goes(range: &Object) -> bool {
    is_deleting(range.value())
}

fn nets(range: &Object) -> Vec<IpNet> {
    let texts = list(range.value(), "/spec/cidrs").iter().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}

pub(super) fn plan(
    range: &Object,
    ranges: &[Arc<Object>],
    addresses: &[Arc<Object>],
    now: Timestamp,
) -> Plan {
    let held = list(range.value(), "/metadata/finalizers").iter().any(|finalizer| finalizer == FINALIZER);
    let mut plan = Plan::default();
    if !goes(range) {
        if !held {
            plan.steps.push(Step::Protect);
        }
        plan.steps.extend(say(range.value(), ("True", "", "Kubernetes Service CIDR is ready"), now));
        return plan;
    }
    if !held {
        return plan;
    }
    if is_needed(range, ranges, addresses) {
        let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        plan.steps.extend(say(range.value(), ("False", "Terminating", why), now));
        return plan;
    }
    let left = GRACE - now.duration_since(time(range.value(), "/metadata/deletionTimestamp"));
    if left.is_positive() {
        plan.look_again = Some(left.unsigned_abs());
    } else {
        plan.steps.push(Step::Release);
    }
    plan
}

/// An address would be of no range without it. Ranges that go themselves do not count: each would let the other go.
fn is_needed(range: &Object, ranges: &[Arc<Object>], addresses: &[Arc<Object>]) -> bool {
    let stays = |other: &&Arc<Object>| other.key != range.key && !goes(other);
    let others: Vec<IpNet> = ranges.iter().filter(stays).flat_map(|other| nets(other)).collect();
    let own = nets(range);
    if own.iter().all(|net| others.iter().any(|other| other.contains(net))) {
        return false;
    }
    let given = addresses.iter().filter(|address| ip_address::is_managed(address.value()));
    let mut given = given.filter_map(|address| address.key.name.parse::<IpAddr>().ok());
    given.any(|address| {
        own.iter().any(|net| net.contains(&address)) && !others.iter().any(|net| net.contains(&address))
    })
}

/// The condition, where it does not say so yet.
fn say(range: &Value, (status, reason, message): (&str, &str, &str), now: Timestamp) -> Option<Step> {
    if let Some(known) = condition(range, "Ready")
        && text(known, "/status") == status
        && text(known, "/reason") == reason
        && text(known, "/message") == message
    {
        return None;
    }
    Some(Step::Say(json!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": format_seconds(now)})))
}

#[cfg(test)]
mod tests {
    use super::super::{ADDRESSES, RANGES};
    use super::*;

    const NOW: &str = "2026-01-01T00:00:20Z";

    fn range(name: &str, net: &str, deleted: Option<&str>) -> Arc<Object> {
        let mut range = json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [net]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready"}]}});
        if let Some(deleted) = deleted {
            range["metadata"]["deletionTimestamp"] = deleted.into();
        }
        Arc::new(Object::of(&RANGES, range))
    }

    fn address(name: &str) -> Arc<Object> {
        Arc::new(Object::of(&ADDRESSES, ip_address::of_service(name, "n", "s")))
    }

    fn check(ranges: &[Arc<Object>], addresses: &[&str], expect: &[&str]) -> Plan {
        let addresses: Vec<_> = addresses.iter().map(|name| address(name)).collect();
        let plan = plan(&ranges[0], ranges, &addresses, NOW.parse().unwrap());
        let shown: Vec<String> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Protect => "protect".to_owned(),
                Step::Release => "release".to_owned(),
                Step::Say(condition) => {
                    format!("{} {}", text(condition, "/status"), text(condition, "/reason"))
                }
            })
            .collect();
        assert_eq!(shown, expect);
        plan
    }

    #[test]
    fn a_range_stays_while_addresses_need_it() {
        let fresh = json!({"metadata": {"name": "a"}, "spec": {"cidrs": ["10.1.0.0/24"]}});
        check(&[Arc::new(Object::of(&RANGES, fresh))], &[], &["protect", "True "]);
        check(&[range("a", "10.1.0.0/24", None)], &["10.1.0.1"], &[]);
        let old = Some("2026-01-01T00:00:00Z");
        check(&[range("a", "10.1.0.0/24", old)], &["10.1.0.1"], &["False Terminating"]);
        check(&[range("a", "10.1.0.0/24", old)], &["10.2.0.1"], &["release"]);
        // Within another, or each address within another.
        check(
            &[range("a", "10.1.0.0/24", old), range("b", "10.1.0.0/16", None)],
            &["10.1.0.1"],
            &["release"],
        );
        check(
            &[range("a", "10.1.0.0/24", old), range("b", "10.1.0.0/28", None)],
            &["10.1.0.1"],
            &["release"],
        );
        // Both go: neither before the address.
        let (a, b) = (range("a", "10.1.0.0/24", old), range("b", "10.1.0.0/16", old));
        check(&[a.clone(), b.clone()], &["10.1.0.1"], &["False Terminating"]);
        check(&[b, a], &["10.1.0.1"], &["False Terminating"]);
        let late = check(&[range("a", "10.1.0.0/24", Some("2026-01-01T00:00:15Z"))], &[], &[]);
        assert_eq!(late.look_again, Some(Duration::from_secs(5)));
    }
}
