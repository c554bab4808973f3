//! Admission policies in the cluster: what they refuse, what they change, and their own lives.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::{Cluster, path, template};

pub(super) const ALL: &[Behaviour] = &[
    ("a policy refuses a Deployment", validated),
    ("a policy's expressions refer to its variables", variables),
    ("a policy changes a Deployment", mutated),
    ("a policy changes a Deployment's annotations", annotated),
];

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Makes a policy and its binding for the namespace alone.
fn bind(cluster: &Cluster, namespace: &str, sort: &str, spec: &Value) {
    let kind = if sort == "validating" { "ValidatingAdmissionPolicy" } else { "MutatingAdmissionPolicy" };
    let mut policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": namespace}, "spec": {"failurePolicy": "Fail", "matchConstraints": {
            "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]}}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        policy["spec"][field] = value.clone();
    }
    cluster.create(&format!("{ADMISSION}/{sort}admissionpolicies"), &policy);
    let mut binding = json!({"metadata": {"name": namespace}, "spec": {"policyName": namespace,
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}});
    if sort == "validating" {
        binding["spec"]["validationActions"] = json!(["Deny"]);
    }
    cluster.create(&format!("{ADMISSION}/{sort}admissionpolicybindings"), &binding);
}

fn unbind(cluster: &Cluster, namespace: &str, sort: &str) {
    for plural in ["policies", "policybindings"] {
        cluster.delete(&format!("{ADMISSION}/{sort}admission{plural}/{namespace}"));
    }
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": template(name)}})
}

/// Waits until the policy acts upon what is not stored.
fn until_dry_run(
    cluster: &Cluster,
    namespace: &str,
    object: &Value,
    acts: impl Fn(&harness::api::Answer) -> bool,
) {
    let all = format!("{}?dryRun=All", path("apps/v1", namespace, "deployments"));
    cluster.until("the policy to act", || acts(&cluster.admin.post(&all, object)));
}

fn validated(cluster: &Cluster, namespace: &str) {
    let spec = json!({"validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, not ' + string(object.spec.replicas)"},
        {"expression": "object.spec.template.spec.containers.all(c, c.image.startsWith('example.test/'))", "message": "an image from elsewhere"}]});
    bind(cluster, namespace, "validating", &spec);
    let few = deployment("few", 1);
    until_dry_run(cluster, namespace, &few, |answer| answer.code != 201);
    let all = path("apps/v1", namespace, "deployments");
    let refused = cluster.admin.post(&all, &few);
    assert_eq!(refused.code, 422);
    let message = format!(
        "ValidatingAdmissionPolicy '{namespace}' with binding '{namespace}' denied request: wants replicas > 1, not 1"
    );
    assert!(refused.text().contains(&message), "{}", refused.text());
    let mut foreign = deployment("foreign", 2);
    foreign["spec"]["template"]["spec"]["containers"][0]["image"] = "elsewhere.test/pause:1".into();
    assert!(cluster.admin.post(&all, &foreign).text().contains("an image from elsewhere"));
    cluster.create(&all, &deployment("many", 2));
    let fewer = cluster.admin.patch(&format!("{all}/many"), "merge", &json!({"spec": {"replicas": 1}}));
    assert_eq!(fewer.code, 422, "updates too");
    unbind(cluster, namespace, "validating");
}

fn variables(cluster: &Cluster, namespace: &str) {
    let spec = json!({
        "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "odd", "expression": "variables.replicas % 2 == 1"},
            {"name": "high", "expression": "variables.replicas > 100"}],
        "validations": [{"expression": "variables.odd || variables.high", "message": "even and low"}]});
    bind(cluster, namespace, "validating", &spec);
    until_dry_run(cluster, namespace, &deployment("even", 4), |answer| {
        answer.code == 422 && answer.text().contains("even and low")
    });
    let dry = format!("{}?dryRun=All", path("apps/v1", namespace, "deployments"));
    cluster.create(&dry, &deployment("odd", 3));
    cluster.create(&dry, &deployment("high", 200));
    unbind(cluster, namespace, "validating");
}

fn mutated(cluster: &Cluster, namespace: &str) {
    let spec = json!({"reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration",
        "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'changed': 'yes'}}, spec: Object.spec{replicas: object.spec.replicas + 1}}"}}]});
    bind(cluster, namespace, "mutating", &spec);
    let object = deployment("d", 1);
    until_dry_run(cluster, namespace, &object, |answer| {
        answer.code == 201 && answer.json()["metadata"]["labels"]["changed"] == "yes"
    });
    let made = cluster.create(&path("apps/v1", namespace, "deployments"), &object);
    assert_eq!(made["spec"]["replicas"], 2);
    unbind(cluster, namespace, "mutating");
}

fn annotated(cluster: &Cluster, namespace: &str) {
    let spec = json!({"reinvocationPolicy": "IfNeeded", "mutations": [
        {"patchType": "JSONPatch", "jsonPatch": {"expression":
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'from': 'patch'}}]"}},
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{annotations: {'also': 'applied'}}}"}}]});
    bind(cluster, namespace, "mutating", &spec);
    let object = deployment("d", 1);
    until_dry_run(cluster, namespace, &object, |answer| {
        answer.code == 201 && answer.json()["metadata"]["annotations"]["from"] == "patch"
    });
    let made = cluster.create(&path("apps/v1", namespace, "deployments"), &object);
    assert_eq!(made["metadata"]["annotations"]["also"], "applied");
    unbind(cluster, namespace, "mutating");
}
