//! ConfigMaps, Secrets, namespaces, nodes, leases, events, roles and requests.

use serde_json::{Value, json};

use super::{created, expect, updated, with};

const RBAC: &str = "rbac.authorization.k8s.io";

fn named(rest: Value) -> Value {
    let mut object = json!({"metadata": {"name": "a", "namespace": "default"}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn cluster(rest: Value) -> Value {
    with(&named(rest), &[("/metadata/namespace", Value::Null)])
}

#[test]
fn config_maps() {
    let large = "x".repeat(1024 * 1024 + 1);
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("fine", json!({"data": {"a.b": "1"}, "binaryData": {"c": "AA=="}}), &[]),
        (
            "keys",
            json!({"data": {"a b": "1", "..": "2"}, "binaryData": {"..x": "AA=="}}),
            &[
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of...",
                "data[..]: Invalid value: \"..\": must not be '..'",
                "binaryData[..x]: Invalid value: \"..x\": must not start with '..'",
            ],
        ),
        (
            "twice",
            json!({"data": {"a": "1"}, "binaryData": {"a": "AA=="}}),
            &["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"],
        ),
        ("large", json!({"data": {"a": large}}), &[": Too long: may not be more than 1048576 bytes"]),
    ];
    for (what, rest, wanted) in cases {
        expect(what, &created("", "ConfigMap", named(rest)), wanted);
    }
    let old = named(json!({"immutable": true, "data": {"a": "1"}}));
    let new = named(json!({"data": {"a": "2"}}));
    let wanted = [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ];
    expect("immutable", &updated("", "ConfigMap", "", new, old), &wanted);
}

#[test]
fn secrets() {
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"type": "Opaque", "data": {"a": "AA=="}}), &[]),
        (
            json!({"type": "kubernetes.io/tls"}),
            &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            json!({"type": "kubernetes.io/basic-auth"}),
            &["data[username]: Required value", "data[password]: Required value"],
        ),
        (json!({"type": "kubernetes.io/basic-auth", "data": {"username": "AA=="}}), &[]),
        (json!({"type": "kubernetes.io/ssh-auth"}), &["data[ssh-privatekey]: Required value"]),
        (json!({"type": "kubernetes.io/dockercfg"}), &["data[.dockercfg]: Required value"]),
        (
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eyI="}}),
            &[
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input",
            ],
        ),
        (json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}), &[]),
        (
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "YWJj"}}),
            &[
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character 'a' looking for beginning of value",
            ],
        ),
        (
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "W10="}}),
            &[
                "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal array into Go value of type map[string]interface {}",
            ],
        ),
        (
            json!({"type": "kubernetes.io/service-account-token"}),
            &["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ];
    for (rest, wanted) in cases {
        expect(&rest.to_string(), &created("", "Secret", named(rest.clone())), wanted);
    }
    let (old, new) = (named(json!({"type": "a"})), named(json!({"type": "b"})));
    expect("type", &updated("", "Secret", "", new, old), &["type: Invalid value: \"b\": field is immutable"]);
}

#[test]
fn namespaces() {
    let object = cluster(json!({"spec": {"finalizers": ["mine"]}}));
    let wanted = [
        "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
    ];
    expect("create", &created("", "Namespace", object.clone()), &wanted);
    let wanted = [
        "spec.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
    ];
    expect("finalize", &updated("", "Namespace", "finalize", object.clone(), object.clone()), &wanted);
    let ending = with(&object, &[("/status", json!({"phase": "Terminating"}))]);
    let wanted = [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
    ];
    expect("status", &updated("", "Namespace", "status", ending, object), &wanted);
}

#[test]
fn nodes() {
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({"podCIDRs": ["10.0.0.0/24", "fd00::/64"], "taints": [{"key": "a", "effect": "NoSchedule"}]}),
            &[],
        ),
        (
            json!({"podCIDRs": ["10.0.0.0/24", "10.0.0.0/24", "x"]}),
            &[
                "spec.podCIDRs[2]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.0.0/24\",\"x\"]: may specify no more than one CIDR for each IP family",
                "spec.podCIDRs[1]: Duplicate value: \"10.0.0.0/24\"",
            ],
        ),
        (
            json!({"podCIDRs": ["10.0.0.1/24"]}),
            &[
                "spec.podCIDRs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            ],
        ),
        (
            json!({"taints": [{"key": "a", "effect": "Never"}, {"key": "a", "value": "b c", "effect": "NoExecute"},
                {"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": ""}]}),
            &[
                "metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                "metadata.taints[1].value: Invalid value: \"b c\": a valid label must be...",
                "metadata.taints[2]: Duplicate value: {\"key\":\"a\",\"effect\":\"NoExecute\"}: taints must be unique by key and effect pair",
                "metadata.taints[3].effect: Required value",
            ],
        ),
    ];
    for (spec, wanted) in cases {
        expect(&spec.to_string(), &created("", "Node", cluster(json!({"spec": spec.clone()}))), wanted);
    }
    let bad = cluster(json!({"status": {"capacity": {"pods": "1500m", "cpu": "-1"}}}));
    let wanted = [
        "status.capacity.pods: Invalid value: \"1500m\": must be an integer",
        "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
        "status.allocatable.pods: Invalid value: \"1500m\": must be an integer",
        "status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
    ];
    expect("capacity", &created("", "Node", bad), &wanted);
    let old =
        cluster(json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "podCIDR": "10.0.0.0/24", "providerID": "a"}}));
    let new = cluster(
        json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "podCIDR": "10.0.1.0/24", "providerID": "b"},
        "status": {"addresses": [{"type": "InternalIP", "address": "1.1.1.1"}, {"type": "InternalIP", "address": "1.1.1.1"}]}}),
    );
    let wanted = [
        "status.addresses[1]: Duplicate value: {\"type\":\"InternalIP\",\"address\":\"1.1.1.1\"}",
        "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
        "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
    ];
    for sub in ["", "status"] {
        expect(sub, &updated("", "Node", sub, new.clone(), old.clone()), &wanted);
    }
}

#[test]
fn leases() {
    let spec = json!({"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"});
    let wanted = [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
    ];
    expect("lease", &created("coordination.k8s.io", "Lease", named(json!({"spec": spec}))), &wanted);
}

#[test]
fn events() {
    let object = |rest: Value| named(rest);
    let old = json!({"involvedObject": {"kind": "Pod", "namespace": "other"}});
    let wanted = ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"];
    expect("other namespace", &created("", "Event", object(old)), &wanted);
    expect("cluster object", &created("", "Event", object(json!({"involvedObject": {"kind": "Node"}}))), &[]);
    let new = json!({"eventTime": "2024-01-01T00:00:00.000000Z", "involvedObject": {"namespace": "default"}});
    let wanted = [
        "reportingController: Required value",
        "reportingController: Invalid value: \"\": name part must be non-empty",
        "reportingController: Invalid value: \"\": name part must consist of...",
        "reportingInstance: Required value",
        "action: Required value",
        "reason: Required value",
    ];
    expect("new style", &created("", "Event", object(new)), &wanted);
    let strict = json!({"regarding": {"namespace": "default"}, "type": "Odd", "deprecatedCount": 2,
        "series": {"count": 1, "lastObservedTime": null}});
    let wanted = [
        "series.count: Invalid value: \"\": should be at least 2",
        "series.lastObservedTime: Required value",
        "eventTime: Required value",
        "type: Invalid value: \"\": has invalid value: Odd",
        "count: Invalid value: \"\": needs to be unset",
    ];
    expect("events.k8s.io", &created("events.k8s.io", "Event", object(strict)), &wanted);
    let before = json!({"regarding": {"namespace": "default"}, "reason": "a"});
    let after = json!({"regarding": {"namespace": "default"}, "reason": "b"});
    let wanted = ["reason: Invalid value: \"b\": field is immutable"];
    expect("update", &updated("events.k8s.io", "Event", "", object(after), object(before)), &wanted);
}

#[test]
fn roles() {
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"verbs": []},
        {"nonResourceURLs": ["/x"], "resources": ["a"], "verbs": ["get"]},
    ]);
    let wanted = [
        "rules[1].verbs: Required value: verbs must contain at least one value",
        "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[1].resources: Required value: resource rules must supply at least one resource",
        "rules[2].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        "rules[2].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
    ];
    expect("role", &created(RBAC, "Role", named(json!({"rules": rules}))), &wanted);
    let wanted = [
        "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
    ];
    expect("aggregate", &created(RBAC, "ClusterRole", cluster(json!({"aggregationRule": {}}))), &wanted);
}

#[test]
fn bindings() {
    let reference = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": "r"});
    let subjects = json!([
        {"kind": "ServiceAccount", "name": "A"},
        {"kind": "User", "name": "", "apiGroup": "x"},
        {"kind": "Robot", "name": "r"},
    ]);
    let wanted = [
        "subjects[0].name: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
        "subjects[0].namespace: Required value",
        "subjects[1].name: Required value",
        "subjects[1].name: Invalid value: \"\": user name cannot be empty",
        "subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
        "subjects[2].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
    ];
    let object = cluster(json!({"roleRef": reference, "subjects": subjects}));
    expect("subjects", &created(RBAC, "ClusterRoleBinding", object), &wanted);
    let wanted = [
        "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
        "roleRef.name: Required value",
    ];
    let bad = cluster(json!({"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": ""}}));
    expect("reference", &created(RBAC, "ClusterRoleBinding", bad), &wanted);
    let old = named(json!({"roleRef": reference}));
    let new = with(&old, &[("/roleRef/name", json!("s"))]);
    let wanted = [
        "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\"name\":\"s\"}: cannot change roleRef",
    ];
    expect("change", &updated(RBAC, "RoleBinding", "", new, old), &wanted);
}

#[test]
fn requests() {
    let group = "authorization.k8s.io";
    let review = json!({"metadata": {"name": "x"}, "spec": {}});
    let wanted = [
        "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
    ];
    expect("review", &created(group, "SubjectAccessReview", review), &wanted);
    let review = json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}});
    let wanted = ["spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace"];
    expect("local", &created(group, "LocalSubjectAccessReview", review), &wanted);
    let asks = |selector: Value| {
        let mut asks = json!({"spec": {"user": "u", "resourceAttributes": {}}});
        asks["spec"]["resourceAttributes"] = selector;
        asks
    };
    let labels = json!({"labelSelector": {"rawSelector": "a", "requirements": [
        {"key": "/", "operator": "In"}, {"key": "a", "operator": "Newer", "values": ["b c"]}]}});
    let at = "spec.resourceAttributes.labelSelector";
    let wanted = [
        &format!(
            "{at}.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements"
        ),
        &format!(
            "{at}.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
        ),
        &format!("{at}.requirements[0].key: Invalid value: \"/\": prefix part must be non-empty"),
        &format!("{at}.requirements[0].key: Invalid value: \"/\": name part must be non-empty"),
        &format!("{at}.requirements[0].key: Invalid value: \"/\": name part must consist..."),
        &format!("{at}.requirements[1].values[0]: Invalid value: \"b c\": a valid label must be..."),
    ];
    let wanted = wanted.map(String::as_str);
    expect("labels", &created(group, "SubjectAccessReview", asks(labels)), &wanted);
    let wanted = [
        "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
    ];
    let nothing = json!({"fieldSelector": {}});
    expect("nothing", &created(group, "SubjectAccessReview", asks(nothing)), &wanted);
    let wanted = [
        "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
        "spec.resourceAttributes.fieldSelector.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
    ];
    let fields = json!({"fieldSelector": {"requirements": [{"operator": "Exists", "values": ["x"]}]}});
    expect("fields", &created(group, "SubjectAccessReview", asks(fields)), &wanted);
    let token = json!({"kind": "TokenRequest", "spec": {"audiences": [], "expirationSeconds": 1}});
    let account = super::kind("", "ServiceAccount");
    let got: Vec<String> =
        crate::validation::create(account, &token).iter().map(ToString::to_string).collect();
    let wanted =
        ["spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes"];
    expect("token", &got, &wanted);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Pod"}});
    let wanted = [
        "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
        "target.name: Required value",
    ];
    expect("binding", &created("", "Binding", binding), &wanted);
}
