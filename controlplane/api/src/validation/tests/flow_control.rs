//! Flow schemas and priority levels.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

fn schema(changes: &[(&str, Value)]) -> Value {
    let base = json!({"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 5,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}});
    with(&base, changes)
}

#[test]
fn schemas() {
    let subjects = "/spec/rules/0/subjects";
    let rules = "/spec/rules/0/resourceRules";
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "precedence",
            vec![
                ("/spec/matchingPrecedence", json!(1)),
                ("/spec/distinguisherMethod", json!({"type": "ByLuck"})),
            ],
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByLuck\"}: supported values: \"ByNamespace\", \"ByUser\"",
            ],
        ),
        (
            "level",
            vec![("/spec/priorityLevelConfiguration/name", json!("A"))],
            &[
                "spec.priorityLevelConfiguration.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "subjects",
            vec![(
                subjects,
                json!([{"kind": "Robot"}, {"kind": "User", "group": {"name": "g"}}, {"kind": "Group", "group": {"name": ""}},
                    {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": ""}},
                    {"kind": "ServiceAccount", "serviceAccount": {"name": "A", "namespace": "B"}}]),
            )],
            &[
                "spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "spec.rules[0].subjects[1].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[1].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0].subjects[2].group.name: Required value",
                "spec.rules[0].subjects[3].serviceAccount.namespace: Required value: must specify namespace for service account",
                "spec.rules[0].subjects[4].serviceAccount.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
                "spec.rules[0].subjects[4].serviceAccount.namespace: Invalid value: \"B\": a lowercase RFC 1123 label...",
            ],
        ),
        (
            "rules",
            vec![(
                rules,
                json!([{"verbs": ["eat"], "apiGroups": ["*", "a"], "resources": [], "namespaces": ["A"]}]),
            )],
            &[
                "spec.rules[0].resourceRules[0].verbs: Unsupported value: [\"eat\"]: supported values: \"create\", \"delete\"...",
                "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other api groups",
                "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label...",
            ],
        ),
        (
            "urls",
            vec![(
                "/spec/rules/0/nonResourceRules",
                json!([{"verbs": ["get"], "nonResourceURLs": ["", "/", "a", "/ ", "//", "/a*", "/a/*"]}]),
            )],
            &[
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"\": must not be empty",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"a\": must start with slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: \"/ \": must not contain white-space",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[4]: Invalid value: \"//\": must not contain double slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[5]: Invalid value: \"/a*\": wildcard can only do suffix matching",
            ],
        ),
        ("fixed", vec![("/metadata/name", json!("catch-all"))], &["spec: Invalid value: {..."]),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "FlowSchema", schema(&changes)), wanted);
    }
    let conditions = json!({"conditions": [{"type": "a"}, {"type": "a"}, {"type": ""}]});
    let wanted =
        ["status.conditions[1].type: Duplicate value: \"a\"", "status.conditions[2].type: Required value"];
    let new = schema(&[("/status", conditions)]);
    expect("status", &updated(GROUP, "FlowSchema", "status", new, schema(&[])), &wanted);
}

#[test]
fn levels() {
    let level = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let queues = |queues: i64, hand: i64| {
        json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 1}}}})
    };
    let at = "spec.limited.limitResponse.queuing";
    let cases: Vec<(&str, Value, Vec<String>)> = vec![
        ("a", queues(64, 6), vec![]),
        ("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 3}}), vec![]),
        (
            "a",
            json!({"type": "Exempt"}),
            vec!["spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'".into()],
        ),
        (
            "a",
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "borrowingLimitPercent": -1, "lendablePercent": 101,
                "limitResponse": {"type": "Drop"}}}),
            vec![
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer".into(),
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer".into(),
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive".into(),
                "spec.limited.limitResponse.type: Unsupported value: \"Drop\": supported values: \"Queue\", \"Reject\"".into(),
            ],
        ),
        ("a", queues(3, 4), vec![format!("{at}.handSize: Invalid value: 4: should not be greater than queues (3)")]),
        (
            "a",
            queues(1024, 7),
            vec![format!("{at}.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60")],
        ),
        (
            "a",
            queues(10_000_001, -1),
            vec![
                format!("{at}.queues: Invalid value: 10000001: must not be greater than 10000000"),
                format!("{at}.handSize: Invalid value: -1: must be positive"),
            ],
        ),
        ("catch-all", queues(64, 6), vec!["spec: Invalid value: {...".into()]),
    ];
    for (name, spec, wanted) in cases {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let what = format!("{name} {spec}");
        expect(&what, &created(GROUP, "PriorityLevelConfiguration", level(name, spec)), &wanted);
    }
}
