//! Each kind's defaults, and that they are the same applied twice.

use serde_json::{Value, json};

use super::apply;
use crate::kind::Registry;

#[track_caller]
fn check(group: &str, resource: &str, input: Value, expect: Value) {
    let registry = Registry::builtin();
    let kind = registry.by_resource(group, "v1", resource).expect("a built-in kind");
    let mut object = input;
    apply(kind, &mut object);
    assert_eq!(object, expect);
    apply(kind, &mut object);
    assert_eq!(object, expect, "applied twice");
}

#[test]
fn a_pod_gets_what_upstream_gives() {
    let pod = json!({"spec": {
        "containers": [{
            "name": "c", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
        }],
        "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
    }});
    let expect = json!({"spec": {
        "containers": [{
            "name": "c", "image": "nginx", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"
        }],
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
            {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}], "defaultMode": 420}}],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
        "schedulerName": "default-scheduler", "enableServiceLinks": true
    }});
    check("", "pods", pod, expect);
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "IfNotPresent"),
    ] {
        let registry = Registry::builtin();
        let mut pod = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
        apply(registry.by_resource("", "v1", "pods").unwrap(), &mut pod);
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn a_deployment_rolls_by_quarters() {
    let registry = Registry::builtin();
    let mut deployment = json!({"spec": {"template": {"spec": {"containers": []}}}});
    apply(registry.by_resource("apps", "v1", "deployments").unwrap(), &mut deployment);
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(
        deployment["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(deployment["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    let mut recreate = json!({"spec": {"strategy": {"type": "Recreate"}, "template": {"spec": {}}}});
    apply(registry.by_resource("apps", "v1", "deployments").unwrap(), &mut recreate);
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn services_secrets_namespaces_bindings() {
    check(
        "",
        "services",
        json!({"spec": {"ports": [{"port": 80}], "type": "NodePort", "sessionAffinity": "ClientIP"}}),
        json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "type": "NodePort", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}, "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}}),
    );
    check(
        "",
        "secrets",
        json!({"data": {"a": "eA=="}, "stringData": {"a": "new", "b": "y"}}),
        json!({"data": {"a": "bmV3", "b": "eQ=="}, "type": "Opaque"}),
    );
    check(
        "",
        "namespaces",
        json!({"metadata": {"name": "x"}}),
        json!({"metadata": {"name": "x", "labels": {"kubernetes.io/metadata.name": "x"}}}),
    );
    check(
        "rbac.authorization.k8s.io",
        "rolebindings",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
        json!({"roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "name": "s"}]}),
    );
}

#[test]
fn a_network_policy_is_of_the_types_that_it_has_rules_for() {
    let tcp =
        json!({"podSelector": {}, "egress": [{"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}]});
    check(
        "networking.k8s.io",
        "networkpolicies",
        json!({"spec": tcp}),
        json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}],
            "policyTypes": ["Ingress", "Egress"]}}),
    );
    check(
        "networking.k8s.io",
        "networkpolicies",
        json!({"spec": {"podSelector": {}, "egress": [], "policyTypes": []}}),
        json!({"spec": {"podSelector": {}, "egress": [], "policyTypes": ["Ingress"]}}),
    );
}
