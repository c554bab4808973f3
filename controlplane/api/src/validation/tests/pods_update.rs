//! What may change in a pod, by each of its subresources.

use serde_json::{Value, json};

use super::pods::pod;
use super::{UpdateCase, expect, updated, with};

const ONLY_THESE: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[test]
fn main() {
    let tolerant = json!([{"key": "a", "operator": "Exists"}]);
    let gated = pod(&[
        ("/spec/schedulingGates", json!([{"name": "a.b/c"}])),
        ("/spec/nodeSelector", json!({"a": "b"})),
    ]);
    let timed = pod(&[("/spec/activeDeadlineSeconds", json!(10)), ("/spec/tolerations", tolerant)]);
    let annotated = pod(&[
        ("/metadata/annotations", json!({"kubernetes.io/config.mirror": "m"})),
        ("/spec/nodeName", json!("n")),
    ]);
    let plain = pod(&[]);
    let cases: Vec<UpdateCase<'_>> = vec![
        ("same", &plain, vec![], &[]),
        ("image", &plain, vec![("/spec/containers/0/image", json!("j"))], &[]),
        (
            "no image",
            &plain,
            vec![("/spec/containers/0/image", json!(""))],
            &["spec.containers[0].image: Required value"],
        ),
        ("command", &plain, vec![("/spec/containers/0/command", json!(["x"]))], &[ONLY_THESE]),
        ("node", &plain, vec![("/spec/nodeName", json!("n"))], &[ONLY_THESE]),
        (
            "resources",
            &plain,
            vec![("/spec/containers/0/resources", json!({"requests": {"cpu": "1"}}))],
            &[ONLY_THESE],
        ),
        (
            "more containers",
            &plain,
            vec![("/spec/containers", json!([{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]))],
            &["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        ("first deadline", &plain, vec![("/spec/activeDeadlineSeconds", json!(5))], &[]),
        ("shorter", &timed, vec![("/spec/activeDeadlineSeconds", json!(5))], &[]),
        (
            "longer",
            &timed,
            vec![("/spec/activeDeadlineSeconds", json!(50))],
            &["spec.activeDeadlineSeconds: Invalid value: 50: must be less than or equal to previous value"],
        ),
        (
            "no deadline",
            &timed,
            vec![("/spec/activeDeadlineSeconds", Value::Null)],
            &[
                "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
            ],
        ),
        (
            "one toleration more",
            &timed,
            vec![(
                "/spec/tolerations",
                json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]),
            )],
            &[],
        ),
        (
            "one less",
            &timed,
            vec![("/spec/tolerations", json!([]))],
            &[
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
            ],
        ),
        ("gate gone", &gated, vec![("/spec/schedulingGates", Value::Null)], &[]),
        (
            "new gate",
            &gated,
            vec![("/spec/schedulingGates", json!([{"name": "a.b/d"}]))],
            &[
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.b/d'",
            ],
        ),
        ("narrower choice", &gated, vec![("/spec/nodeSelector", json!({"a": "b", "c": "d"}))], &[]),
        (
            "other choice",
            &gated,
            vec![("/spec/nodeSelector", json!({"c": "d"}))],
            &[
                "spec.nodeSelector: Invalid value: {\"c\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ],
        ),
        (
            "new affinity",
            &gated,
            vec![(
                "/spec/affinity",
                json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}}),
            )],
            &[],
        ),
        ("ungated choice", &plain, vec![("/spec/nodeSelector", json!({"c": "d"}))], &[ONLY_THESE]),
        (
            "no longer a mirror",
            &annotated,
            vec![("/metadata/annotations", Value::Null)],
            &[
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation",
            ],
        ),
    ];
    for (what, old, changes, wanted) in cases {
        expect(what, &updated("", "Pod", "", with(old, &changes), old.clone()), wanted);
    }
}

#[test]
fn ephemeral_containers() {
    let one = json!({"name": "e", "image": "i"});
    let with_one = pod(&[("/spec/ephemeralContainers", json!([one]))]);
    expect("first", &updated("", "Pod", "ephemeralcontainers", with_one.clone(), pod(&[])), &[]);
    let wanted =
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"];
    expect("gone", &updated("", "Pod", "ephemeralcontainers", pod(&[]), with_one.clone()), &wanted);
    let changed = with(&with_one, &[("/spec/ephemeralContainers/0/image", json!("j"))]);
    let wanted =
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n"];
    expect("changed", &updated("", "Pod", "ephemeralcontainers", changed, with_one), &wanted);
}

#[test]
fn resize() {
    let sized = |cpu: &str| pod(&[("/spec/containers/0/resources", json!({"requests": {"cpu": cpu}}))]);
    let resize = |new: Value, old: Value| updated("", "Pod", "resize", new, old);
    expect("more", &resize(sized("2"), sized("1")), &[]);
    let wanted = [
        "spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing",
        "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
    ];
    expect("removed", &resize(pod(&[]), sized("1")), &wanted);
    let other = with(&sized("2"), &[("/spec/containers/0/image", json!("j"))]);
    expect(
        "image",
        &resize(other, sized("1")),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    let whole = pod(&[("/spec/resources", json!({"requests": {"cpu": "1"}}))]);
    let wanted = [": Forbidden: pods with pod-level resources cannot be resized"];
    expect("whole pod", &resize(whole.clone(), whole), &wanted);
}

#[test]
fn status() {
    let ended = json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]});
    let old = pod(&[("/spec/restartPolicy", json!("Never")), ("/status", ended)]);
    let again = json!({"qosClass": "Burstable", "containerStatuses": [{"name": "c", "state": {"running": {}}}],
        "conditions": [{"type": "a b", "status": "True"}], "nominatedNodeName": "A",
        "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, {"ip": "x"}], "hostIP": "1.1.1.1", "hostIPs": [{"ip": "1.1.1.2"}]});
    let new = with(&old, &[("/status", again)]);
    let wanted = [
        "metadata.conditions[0].Type: Invalid value: \"a b\": name part must consist of...",
        "status.nominatedNodeName: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
        "status.qosClass: Invalid value: \"Burstable\": field is immutable",
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
        "status.hostIPs[0].ip: Invalid value: \"1.1.1.2\": must be equal to `hostIP`",
        "status.podIPs[2]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        "status.podIPs: Invalid value: [...",
    ];
    expect("status", &updated("", "Pod", "status", new, old), &wanted);
}

#[test]
fn a_binding_gives_the_node() {
    let old = pod(&[]);
    let bound = with(&old, &[("/spec/nodeName", json!("node-1"))]);
    expect("bound", &updated("", "Pod", "binding", bound, old), &[]);
}
