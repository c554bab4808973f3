//! What an admission policy is told of its expressions.

use serde_json::{Value, json};

use super::Cluster;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const WIDGETS: &str = "/apis/example.com/v1/widgets";

#[test]
fn a_policys_expressions_are_checked_against_the_types_of_what_it_matches() {
    let cluster = Cluster::start();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    cluster.admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).expect(201);
    cluster.until("widgets", || cluster.admin.get(WIDGETS).code == 200);

    let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]});
    let policy = |name: &str, rules: Value, expressions: &[&str]| {
        let validations: Vec<Value> = expressions.iter().map(|text| json!({"expression": text})).collect();
        json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": rules}, "validations": validations}})
    };
    let both =
        json!([rule("example.com", "widgets"), rule("apps", "deployments"), rule("example.com", "gadgets")]);
    let wrong = policy(
        "sizes",
        both,
        &["object.spec.replicas > 1", "has(object.metadata.name)", "object.spec.size > 1"],
    );
    cluster.admin.post(POLICIES, &wrong).expect(201);
    let status = |name: &str| cluster.admin.get(&format!("{POLICIES}/{name}")).expect(200)["status"].clone();
    let observed = |name: &str, generation: i64| {
        cluster.until(name, || status(name)["observedGeneration"] == generation);
        status(name)["typeChecking"].clone()
    };
    let row = |index: usize, kind: &str, text: &str, field: &str| {
        let warning =
            format!("{kind}: ERROR: <input>:1:12: undefined field '{field}'\n | {text}\n | ...........^\n");
        json!({"fieldRef": format!("spec.validations[{index}].expression"), "warning": warning})
    };
    let wanted = json!([
        row(0, "example.com/v1, Kind=Widget", "object.spec.replicas > 1", "replicas"),
        row(2, "apps/v1, Kind=Deployment", "object.spec.size > 1", "size"),
    ]);
    assert_eq!(observed("sizes", 1), json!({"expressionWarnings": wanted}));
    let stored = cluster.admin.get(&format!("{POLICIES}/sizes")).expect(200);
    assert_eq!(stored["metadata"]["generation"], 1, "a status is no change of what is wanted");

    // Mended, it is told so; what matches anything is never complained about.
    let mended = json!({"spec": {"validations": [{"expression": "object.metadata.name != ''"}]}});
    cluster.admin.patch(&format!("{POLICIES}/sizes"), "merge", &mended).expect(200);
    assert_eq!(observed("sizes", 2), json!({}));
    let wide = policy("wide", json!([rule("*", "*")]), &["object.anything > 1"]);
    cluster.admin.post(POLICIES, &wide).expect(201);
    assert_eq!(observed("wide", 1), json!({}));
}
