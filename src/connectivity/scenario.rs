//! The scenarios, as data.

use serde_json::{Value, json};

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// The policy that is in place; empty: none.
    pub policy: &'static str,
    pub from: From,
    pub to: Target,
    /// Whether there must be an answer.
    pub passes: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum From {
    /// This process.
    Host,
    /// A pod with these labels.
    Pod(&'static [(&'static str, &'static str)]),
}

#[derive(Clone, Copy, Debug)]
pub enum Target {
    Pod,
    /// By its ClusterIP.
    Service,
    /// By its DNS name.
    Name,
    /// On the node's own address.
    NodePort,
}

const PLAIN: From = From::Pod(&[]);
const FRIEND: From = From::Pod(&[("friend", "yes")]);
const MUTE: From = From::Pod(&[("mute", "yes")]);

const fn scenario(name: &'static str, about: &'static str, from: From, to: Target) -> Scenario {
    Scenario { name, about, policy: "", from, to, passes: true }
}

const fn under(policy: &'static str, passes: bool, scenario: Scenario) -> Scenario {
    Scenario { policy, passes, ..scenario }
}

/// In the order in which they are tried; those under one policy stand together.
pub const SCENARIOS: &[Scenario] = &[
    scenario("pod-to-pod", "a pod calls a pod", PLAIN, Target::Pod),
    scenario("pod-to-service", "a pod calls a ClusterIP", PLAIN, Target::Service),
    scenario("dns", "a pod calls a Service by its name", PLAIN, Target::Name),
    scenario("pod-to-nodeport", "a pod calls a node port", PLAIN, Target::NodePort),
    scenario("host-to-pod", "the node calls a pod", From::Host, Target::Pod),
    scenario("host-to-service", "the node calls a ClusterIP", From::Host, Target::Service),
    scenario("nodeport", "the node calls its node port", From::Host, Target::NodePort),
    under("friends", false, scenario("policy-deny", "a policy denies a stranger", PLAIN, Target::Pod)),
    under("friends", false, scenario("policy-deny-service", "by the Service too", PLAIN, Target::Service)),
    under("friends", true, scenario("policy-allow", "and allows a friend", FRIEND, Target::Service)),
    under("friends", true, scenario("policy-host", "and the pod's own node", From::Host, Target::Pod)),
    under("mute", false, scenario("policy-egress-deny", "a policy keeps a pod in", MUTE, Target::Pod)),
    under("mute", true, scenario("policy-egress-other", "and no other", PLAIN, Target::Pod)),
];

/// A policy by the name that scenarios give it.
pub fn policy(name: &str) -> Option<Value> {
    let spec = match name {
        "friends" => json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}]}),
        "mute" => json!({"podSelector": {"matchLabels": {"mute": "yes"}}, "policyTypes": ["Egress"]}),
        _ => return None,
    };
    Some(json!({"metadata": {"name": name}, "spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_policies_exist() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..at].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
            assert_eq!(policy(scenario.policy).is_some(), !scenario.policy.is_empty(), "{}", scenario.name);
        }
    }
}
