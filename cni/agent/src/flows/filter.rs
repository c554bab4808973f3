//! Which flows somebody wants to see. What is empty says nothing; of several values one must match, of several
//! fields all.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::flow::{End, Flow};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// `[NAMESPACE/]NAME`, the beginning of a name is enough; on either end.
    pub pod: Vec<String>,
    pub from_pod: Vec<String>,
    pub to_pod: Vec<String>,
    /// On either end.
    pub namespace: Vec<String>,
    pub from_namespace: Vec<String>,
    pub to_namespace: Vec<String>,
    /// `DROPPED`, `FORWARDED`.
    pub verdict: Vec<String>,
    /// `POLICY_INGRESS` and so on.
    pub drop_reason: Vec<String>,
    /// `tcp`, `UDP`
    pub protocol: Vec<String>,
    /// On either end, before or after translation.
    pub port: Vec<u16>,
    pub from_port: Vec<u16>,
    pub to_port: Vec<u16>,
    /// The same for addresses.
    pub ip: Vec<IpNet>,
    pub from_ip: Vec<IpNet>,
    pub to_ip: Vec<IpNet>,
    /// Not before, and not after: RFC 3339.
    pub since: Option<String>,
    pub until: Option<String>,
}

impl Filter {
    pub fn matches(&self, flow: &Flow) -> bool {
        let from = || [&flow.source, &flow.to_source].into_iter().flatten();
        let to = || [&flow.destination, &flow.to_destination].into_iter().flatten();
        let both = || from().chain(to());
        let reason = flow.drop_reason.as_deref().unwrap_or_default();
        any(&self.pod, |wanted| both().any(|end| is_pod(end, wanted)))
            && any(&self.from_pod, |wanted| from().any(|end| is_pod(end, wanted)))
            && any(&self.to_pod, |wanted| to().any(|end| is_pod(end, wanted)))
            && any(&self.namespace, |wanted| both().any(|end| is_in(end, wanted)))
            && any(&self.from_namespace, |wanted| from().any(|end| is_in(end, wanted)))
            && any(&self.to_namespace, |wanted| to().any(|end| is_in(end, wanted)))
            && any(&self.verdict, |wanted| flow.verdict.eq_ignore_ascii_case(wanted))
            && any(&self.drop_reason, |wanted| reason.eq_ignore_ascii_case(wanted))
            && any(&self.protocol, |wanted| flow.protocol.eq_ignore_ascii_case(wanted))
            && any(&self.port, |wanted| both().any(|end| end.address.port() == *wanted))
            && any(&self.from_port, |wanted| from().any(|end| end.address.port() == *wanted))
            && any(&self.to_port, |wanted| to().any(|end| end.address.port() == *wanted))
            && any(&self.ip, |wanted| both().any(|end| wanted.contains(&end.address.ip())))
            && any(&self.from_ip, |wanted| from().any(|end| wanted.contains(&end.address.ip())))
            && any(&self.to_ip, |wanted| to().any(|end| wanted.contains(&end.address.ip())))
            && self.is_of_its_time(flow)
    }

    fn is_of_its_time(&self, flow: &Flow) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let read = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let Some(time) = read(&flow.time) else { return false };
        self.since.as_deref().is_none_or(|since| read(since).is_some_and(|since| time >= since))
            && self.until.as_deref().is_none_or(|until| read(until).is_some_and(|until| time <= until))
    }
}

fn is_in(end: &End, namespace: &str) -> bool {
    end.name.as_ref().is_some_and(|name| name.namespace == namespace)
}

fn any<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

fn is_pod(end: &End, wanted: &str) -> bool {
    let Some(name) = &end.name else { return false };
    let (namespace, pod) = wanted.split_once('/').unwrap_or(("default", wanted));
    name.namespace == namespace && name.pod.starts_with(pod)
}

/// A moment, or how long ago it was: `2026-11-28T16:20:33Z`, `90s`, `5m`.
pub fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    let ago = || {
        let ago: jiff::SignedDuration = text.parse().ok()?;
        jiff::Timestamp::now().checked_sub(ago).ok()
    };
    let read = text.parse().ok().or_else(ago);
    read.ok_or_else(|| {
        format!("{text:?} is neither a moment such as 2026-11-28T16:20:33Z nor a time such as 5m")
    })
}

/// An address or a range, as people write either.
pub fn range(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse::<IpNet>()).map_err(|_| format!("{text:?} is no address and no range"))
}

#[cfg(test)]
mod tests {
    use super::super::flow::Named;
    use super::*;

    fn end(address: &str, name: Option<(&str, &str)>) -> Option<End> {
        let name = name.map(|(namespace, pod)| Named { namespace: namespace.into(), pod: pod.into() });
        Some(End { address: address.parse().unwrap(), name })
    }

    #[test]
    fn what_is_said_must_match_and_what_is_not_matches_all() {
        let flow = Flow {
            time: "2026-11-28T16:20:33.1Z".into(),
            verdict: "DROPPED".into(),
            drop_reason: Some("POLICY_INGRESS".into()),
            source: end("10.244.0.5:40000", Some(("default", "client-1"))),
            destination: end("10.96.0.9:80", None),
            to_source: None,
            to_destination: end("10.244.0.6:8080", Some(("shop", "web-1"))),
            protocol: "TCP".into(),
            flags: "SYN".into(),
            is_reply: false,
            link: 1,
            length: 60,
        };
        let check = |filter: Filter, expect: bool| assert_eq!(filter.matches(&flow), expect, "{filter:?}");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let none = Filter::default;
        check(none(), true);
        check(Filter { pod: words(&["client"]), ..none() }, true);
        check(Filter { pod: words(&["web"]), ..none() }, false);
        check(Filter { pod: words(&["shop/web"]), ..none() }, true);
        check(Filter { from_pod: words(&["shop/web"]), ..none() }, false);
        check(Filter { to_pod: words(&["shop/web", "x/y"]), ..none() }, true);
        check(Filter { namespace: words(&["shop"]), verdict: words(&["dropped"]), ..none() }, true);
        check(Filter { verdict: words(&["forwarded"]), ..none() }, false);
        check(Filter { protocol: words(&["tcp"]), port: vec![8080], ..none() }, true);
        check(Filter { port: vec![443], ..none() }, false);
        check(Filter { ip: vec![range("10.96.0.0/16").unwrap()], ..none() }, true);
        check(Filter { ip: vec![range("192.0.2.1").unwrap()], ..none() }, false);
        check(Filter { from_namespace: words(&["default"]), to_namespace: words(&["shop"]), ..none() }, true);
        check(Filter { from_namespace: words(&["shop"]), ..none() }, false);
        check(Filter { drop_reason: words(&["policy_ingress"]), ..none() }, true);
        check(Filter { drop_reason: words(&["STALE"]), ..none() }, false);
        check(Filter { from_port: vec![40000], to_port: vec![80], ..none() }, true);
        check(Filter { from_port: vec![80], ..none() }, false);
        check(Filter { to_ip: vec![range("10.244.0.6").unwrap()], ..none() }, true);
        check(Filter { from_ip: vec![range("10.244.0.6").unwrap()], ..none() }, false);
        let at = |text: &str| Some(text.to_owned());
        check(
            Filter { since: at("2026-11-28T16:20:33Z"), until: at("2026-11-28T16:20:34Z"), ..none() },
            true,
        );
        check(Filter { since: at("2026-11-28T16:20:34Z"), ..none() }, false);
        check(Filter { until: at("2026-11-28T16:20:33Z"), ..none() }, false);
        assert!(moment("5m").unwrap() < moment("1s").unwrap() && moment("soon").is_err());
        assert_eq!(
            flow.compact(),
            "2026-11-28T16:20:33.1Z: default/client-1:40000 -> 10.96.0.9:80 (shop/web-1:8080) DROPPED POLICY_INGRESS (TCP Flags: SYN)"
        );
    }
}
