//! Warnings.

use serde_json::{Value, json};

use super::pods::pod;
use super::{Case, expect, kind, settled};

fn warned(group: &str, name: &str, object: Value) -> Vec<String> {
    let kind = kind(group, name);
    crate::validation::warnings(kind, &settled(kind, object))
}

#[test]
fn pods() {
    let cases: Vec<Case<'_>> = vec![
        ("nothing", vec![], &[]),
        (
            "variables",
            vec![(
                "/spec/containers/0/env",
                json!([
                {"name": "X", "value": "a"}, {"name": "X", "value": "b"}, {"name": "X", "value": "$(X)b"}]),
            )],
            &[
                "spec.containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply",
            ],
        ),
        (
            "name",
            vec![("/metadata/name", json!("a.b"))],
            &[
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
            ],
        ),
        (
            "labels",
            vec![("/spec/nodeSelector", json!({"beta.kubernetes.io/os": "linux"}))],
            &[
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ],
        ),
        (
            "doubles",
            vec![
                ("/spec/hostAliases", json!([{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}])),
                ("/spec/imagePullSecrets", json!([{"name": ""}])),
            ],
            &[
                "spec.hostAliases[1].ip: duplicate ip \"1.1.1.1\"",
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            ],
        ),
        (
            "amounts",
            vec![
                ("/spec/containers/0/resources", json!({"limits": {"memory": "1500m"}})),
                ("/spec/terminationGracePeriodSeconds", json!(-1)),
            ],
            &[
                "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ],
        ),
        (
            "ports",
            vec![(
                "/spec/containers/0/ports",
                json!([{"containerPort": 80}, {"containerPort": 80}, {"containerPort": 81, "hostIP": "1.1.1.1"}]),
            )],
            &[
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:1.1.1.1}",
            ],
        ),
        (
            "old annotation and volume",
            vec![
                ("/metadata/annotations", json!({"scheduler.alpha.kubernetes.io/critical-pod": ""})),
                ("/spec/volumes", json!([{"name": "v", "rbd": {"monitors": ["a"], "image": "i"}}])),
            ],
            &[
                "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            ],
        ),
        (
            "selectors",
            vec![
                (
                    "/spec/topologySpreadConstraints",
                    json!([{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}]),
                ),
                (
                    "/spec/affinity",
                    json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "k"}]}}),
                ),
            ],
            &[
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &warned("", "Pod", pod(&changes)), wanted);
    }
}

#[test]
fn others() {
    let template = pod(&[("/spec/containers/0/env", json!([{"name": "X"}, {"name": "X"}]))]);
    let object = json!({"metadata": {"name": "d"}, "spec": {"template": template}});
    let wanted = [
        "spec.template.spec.containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply",
    ];
    expect("template", &warned("apps", "Deployment", object), &wanted);
    let object = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "None", "externalIPs": ["1.1.1.1"],
        "externalName": "a", "loadBalancerIP": "1.1.1.1", "sessionAffinity": "ClientIP"}});
    let wanted = [
        "spec.externalIPs is ignored when spec.clusterIP is \"None\"",
        "spec.SessionAffinity is ignored for headless services",
        "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        "spec.loadBalancerIP is ignored when spec.type is not \"LoadBalancer\"",
    ];
    expect("service", &warned("", "Service", object), &wanted);
    let wanted = ["v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"];
    expect("endpoints", &warned("", "Endpoints", json!({"metadata": {"name": "e"}})), &wanted);
}
