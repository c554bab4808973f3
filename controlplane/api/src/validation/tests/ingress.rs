//! Ingresses, their classes, addresses and ranges of Services, budgets' status.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

const GROUP: &str = "networking.k8s.io";

fn ingress(changes: &[(&str, Value)]) -> Value {
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    with(
        &json!({"metadata": {"name": "i", "namespace": "default"}, "spec": {"rules": [{"host": "a.b", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}),
        changes,
    )
}

#[test]
fn ingresses() {
    let path = |name: &'static str, value: Value| {
        vec![(["/spec/rules/0/http/paths/0/", name].concat().leak() as &str, value)]
    };
    const AT: &str = "spec.rules[0].http.paths[0]";
    let said = |rest: &str| [AT, rest].concat().leak() as &str;
    type Change = Vec<(&'static str, Value)>;
    let cases: Vec<(&str, Change, Vec<&str>)> = vec![
        ("fine", vec![], vec![]),
        (
            "nothing",
            vec![("/spec", json!({"rules": []}))],
            vec!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            "an address",
            vec![("/spec/rules/0/host", json!("10.0.0.1"))],
            vec!["spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"],
        ),
        ("a star", vec![("/spec/rules/0/host", json!("*.a.b"))], vec![]),
        (
            "stars",
            vec![("/spec/rules/0/host", json!("*.*.b"))],
            vec![
                "spec.rules[0].host: Invalid value: \"*.*.b\": a wildcard DNS-1123 subdomain must start with '*.'...",
            ],
        ),
        (
            "no path",
            vec![("/spec/rules/0/http/paths", json!([]))],
            vec!["spec.rules[0].http.paths: Required value"],
        ),
        (
            "no type",
            path("pathType", Value::Null),
            vec![said(".pathType: Required value: pathType must be specified")],
        ),
        (
            "odd",
            path("path", json!("/a//b/..")),
            vec![
                said(".path: Invalid value: \"/a//b/..\": must not contain '//'"),
                said(".path: Invalid value: \"/a//b/..\": cannot end with '/..'"),
            ],
        ),
        (
            "not even a path",
            [path("path", json!("a")), path("pathType", json!("ImplementationSpecific"))].concat(),
            vec![said(".path: Invalid value: \"a\": must be an absolute path")],
        ),
        (
            "types",
            path("pathType", json!("Some")),
            vec![said(
                ".pathType: Unsupported value: \"Some\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"",
            )],
        ),
        (
            "to nothing",
            path("backend", json!({})),
            vec![said(".backend: Invalid value: \"\": resource or service backend is required")],
        ),
        (
            "to no port",
            path("backend", json!({"service": {"name": "s"}})),
            vec![said(".backend: Required value: port name or number is required")],
        ),
        (
            "to two ports",
            path("backend", json!({"service": {"name": "1", "port": {"name": "a", "number": 1}}})),
            vec![
                said(".backend.service.name: Invalid value: \"1\": a DNS-1035 label must consist of..."),
                said(".backend: Invalid value: \"\": cannot set both port name & port number"),
            ],
        ),
        (
            "to something",
            path("backend", json!({"resource": {"kind": "", "name": "a/b", "apiGroup": "A"}})),
            vec![
                said(".backend.resource.apiGroup: Invalid value: \"A\": a lowercase RFC 1123 subdomain..."),
                said(".backend.resource.kind: Required value: kind is required"),
                said(".backend.resource.name: Invalid value: \"a/b\": may not contain '/'"),
            ],
        ),
        (
            "secrets",
            vec![("/spec/tls", json!([{"hosts": ["A"], "secretName": "S"}]))],
            vec![
                "spec.tls[0].hosts[0]: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
                "spec.tls[0].secretName: Invalid value: \"S\": a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "two classes",
            vec![
                ("/spec/ingressClassName", json!("a")),
                ("/metadata/annotations", json!({"kubernetes.io/ingress.class": "b"})),
            ],
            vec![
                "annotations.kubernetes.io/ingress.class: Invalid value: \"b\": must match `ingressClassName` when both are specified",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "Ingress", ingress(&changes)), &wanted);
    }
    let point = json!({"loadBalancer": {"ingress": [{"ip": "x"}, {"hostname": "1.2.3.4"}]}});
    let new = ingress(&[("/status", point)]);
    let wanted = [
        "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address...",
        "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
    ];
    expect("status", &updated(GROUP, "Ingress", "status", new, ingress(&[])), &wanted);
}

#[test]
fn classes() {
    let class = |changes: &[(&str, Value)]| {
        with(&json!({"metadata": {"name": "c"}, "spec": {"controller": "example.com/x"}}), changes)
    };
    let parameters = |value: Value| vec![("/spec/parameters", value)];
    let cases: &[Case<'_>] = &[
        ("fine", parameters(json!({"kind": "k", "name": "n"})), &[]),
        ("nobody", vec![("/spec/controller", json!(""))], &["spec.controller: Required value"]),
        (
            "no domain",
            vec![("/spec/controller", json!("x"))],
            &[
                "spec.controller: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ],
        ),
        (
            "no path",
            vec![("/spec/controller", json!("example.com/a b"))],
            &["spec.controller: Invalid value: \"a b\": Invalid path (regex used for validation is..."],
        ),
        (
            "whose",
            parameters(json!({"scope": "Namespace", "kind": "k", "name": ""})),
            &[
                "spec.parameters.name: Required value: name is required",
                "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
            ],
        ),
        (
            "nobody's",
            parameters(json!({"scope": "Cluster", "namespace": "a", "kind": "k", "name": "n"})),
            &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "IngressClass", class(changes)), wanted);
    }
    let new = class(&[("/spec/controller", json!("example.com/y"))]);
    let wanted = ["spec.controller: Invalid value: \"example.com/y\": field is immutable"];
    expect("update", &updated(GROUP, "IngressClass", "", new, class(&[])), &wanted);
}

#[test]
fn addresses_and_ranges() {
    let range = |cidrs: Value| json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}});
    let cases: Vec<(Value, &[&str])> = vec![
        (json!(["10.0.0.0/24", "fd00::/64"]), &[]),
        (json!([]), &["spec.cidrs: Required value: at least one CIDR required"]),
        (
            json!(["10.0.0.0/24", "10.1.0.0/24"]),
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.1.0.0/24\"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ],
        ),
        (
            json!(["10.0.0.0/24", "fd00::/64", "x"]),
            &[
                "spec.cidrs: Invalid value: {\"CIDRs\":[\"10.0.0.0/24\",\"fd00::/64\",\"x\"]}: may only hold up to 2 values",
            ],
        ),
    ];
    for (cidrs, wanted) in cases {
        expect(&cidrs.to_string(), &created(GROUP, "ServiceCIDR", range(cidrs.clone())), wanted);
    }
    for (what, cidr, why) in [
        ("written out", "fd00:0::/64", "must be in canonical form (\"fd00::/64\")"),
        ("an address", "10.0.0.1/24", "must not have bits set beyond the prefix length"),
        ("zeros", "010.0.0.1/24", "must not have leading 0s in IP or prefix length"),
    ] {
        let wanted = format!("spec.cidrs[0]: Invalid value: \"{cidr}\": {why}");
        expect(what, &created(GROUP, "ServiceCIDR", range(json!([cidr]))), &[&wanted]);
    }
    let one = range(json!(["10.0.0.0/24"]));
    for (cidrs, wanted) in [
        (json!(["10.0.0.0/24", "fd00::/64"]), &[][..]),
        (json!(["10.1.0.0/24"]), &["spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable"]),
        (
            json!(["10.1.0.0/24", "fd00::/64"]),
            &["spec.cidrs[0]: Invalid value: \"10.1.0.0/24\": field is immutable"],
        ),
        (
            json!([]),
            &[
                "spec.cidrs: Invalid value: null: field is immutable",
                "spec.cidrs: Required value: at least one CIDR required",
            ],
        ),
    ] {
        let what = cidrs.to_string();
        expect(&what, &updated(GROUP, "ServiceCIDR", "", range(cidrs), one.clone()), wanted);
    }
    let address =
        json!({"metadata": {"name": "FD00::1"}, "spec": {"parentRef": {"resource": "a", "name": "b"}}});
    let wanted = ["metadata.name: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")"];
    expect("canonical", &created(GROUP, "IPAddress", address), &wanted);
    let address =
        json!({"metadata": {"name": "10.0.0.01"}, "spec": {"parentRef": {"group": "A", "resource": "a/b"}}});
    let wanted = [
        "metadata.name: Invalid value: \"10.0.0.01\": must not have leading 0s",
        "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
        "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'",
        "spec.parentRef.name: Required value",
    ];
    expect("address", &created(GROUP, "IPAddress", address), &wanted);
}

#[test]
fn status_of_a_budget() {
    let old = json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"minAvailable": 1}});
    let status = json!({"disruptionsAllowed": -1, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
        "conditions": [{"type": "a", "status": "Yes", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "1", "message": ""},
            {"type": "a", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Fine", "message": ""}]});
    let new = with(&old, &[("/status", status)]);
    let wanted = [
        "status.conditions[0].status: Unsupported value: \"Yes\": supported values: \"False\", \"True\", \"Unknown\"",
        "status.conditions[0].reason: Invalid value: \"1\": a condition reason must start with alphabetic character...",
        "status.conditions[1].type: Duplicate value: \"a\"",
        "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
    ];
    expect("status", &updated("policy", "PodDisruptionBudget", "status", new, old), &wanted);
}
