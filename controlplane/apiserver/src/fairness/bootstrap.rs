//! The flow schemas and priority levels that every cluster has: upstream's suggested and mandatory ones.

use serde_json::{Value, json};

/// Who keeps them: a person that sets it to `false` has them alone.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Name, shares, lendable percent, and queues with their hand size; without queues a level refuses.
type Row = (&'static str, u64, u64, Option<(u64, u64)>);

const LEVELS: &[Row] = &[
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
    ("catch-all", 5, 0, None),
];

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"kind": kind, "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

/// Every level.
pub fn priority_levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let mut levels = vec![object("PriorityLevelConfiguration", "exempt", &exempt)];
    for (name, shares, lendable, queues) in LEVELS {
        let response = match queues {
            Some((queues, hand)) => {
                json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
            }
            None => json!({"type": "Reject"}),
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        levels.push(object(
            "PriorityLevelConfiguration",
            name,
            &json!({"type": "Limited", "limited": limited}),
        ));
    }
    levels
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}})
}

fn everybody() -> Vec<Value> {
    vec![group("system:unauthenticated"), group("system:authenticated")]
}

/// Everything, for these subjects.
fn all(subjects: Vec<Value>) -> Value {
    json!([{"subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}])
}

fn some(subjects: Vec<Value>, rules: Value) -> Value {
    json!([{"subjects": subjects, "resourceRules": rules}])
}

fn in_namespaces(verbs: &[&str], group: &str, resource: &str) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": [resource], "namespaces": ["*"]})
}

/// Every schema.
pub fn flow_schemas() -> Vec<Value> {
    const CHANGES: &[&str] = &["get", "create", "update"];
    let leases = || json!([in_namespaces(CHANGES, "coordination.k8s.io", "leases")]);
    let managers = vec![user("system:kube-controller-manager"), user("system:kube-scheduler")];
    let probes = json!([{"subjects": everybody(), "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    let endpoints = vec![
        user("system:kube-controller-manager"),
        account("endpoint-controller"),
        account("endpointslicemirroring-controller"),
    ];
    let node = json!([
        {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true, "namespaces": ["*"]},
        in_namespaces(&["*"], "coordination.k8s.io", "leases"),
    ]);
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    [
        ("exempt", "exempt", 1, None, all(vec![group("system:masters")])),
        ("probes", "exempt", 2, None, probes),
        ("system-leader-election", "leader-election", 100, by_user, some(managers, leases())),
        ("endpoint-controller", "workload-high", 150, by_user, some(endpoints, json!([in_namespaces(CHANGES, "", "endpoints")]))),
        ("workload-leader-election", "leader-election", 200, by_user, some(vec![account("*")], leases())),
        ("system-node-high", "node-high", 400, by_user, some(vec![group("system:nodes")], node)),
        ("system-nodes", "system", 500, by_user, all(vec![group("system:nodes")])),
        ("kube-controller-manager", "workload-high", 800, by_namespace, all(vec![user("system:kube-controller-manager")])),
        ("kube-scheduler", "workload-high", 800, by_namespace, all(vec![user("system:kube-scheduler")])),
        ("kube-system-service-accounts", "workload-high", 900, by_namespace, all(vec![account("*")])),
        ("service-accounts", "workload-low", 9000, by_user, all(vec![group("system:serviceaccounts")])),
        ("global-default", "global-default", 9900, by_user, all(everybody())),
        ("catch-all", "catch-all", 10_000, by_user, all(everybody())),
    ]
    .into_iter()
    .map(|(name, level, precedence, distinguisher, rules)| {
        let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules});
        if let Some(kind) = distinguisher {
            spec["distinguisherMethod"] = json!({"type": kind});
        }
        object("FlowSchema", name, &spec)
    })
    .collect()
}
