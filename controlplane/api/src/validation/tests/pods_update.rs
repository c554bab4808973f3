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
    let whole = |resources: Value| pod(&[("/spec/resources", resources)]);
    let one = || whole(json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
    expect("whole pod", &resize(whole(json!({"requests": {"cpu": "2", "memory": "2Gi"}})), one()), &[]);
    let wanted = ["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"];
    expect("of the whole pod, removed", &resize(whole(json!({"requests": {"cpu": "2"}})), one()), &wanted);
    let wanted = [
        "spec: Invalid value: \"\": Pod QOS Class may not change as a result of resizing",
        "spec.resources: Forbidden: pod-level resources cannot be removed",
    ];
    expect("none for the whole pod", &resize(pod(&[]), one()), &wanted);
}

#[test]
fn resize_of_containers() {
    let pod = |init: Value, name: &str| {
        pod(&[
            ("/spec/initContainers", json!([init])),
            (
                "/spec/containers",
                json!([{"name": name, "image": "i", "resources": {"requests": {"cpu": "1"}}}]),
            ),
        ])
    };
    let init = |changes: &[(&str, Value)]| {
        let base = json!({"name": "i", "image": "i", "resources": {"requests": {"cpu": "1"}}});
        with(&base, changes)
    };
    let resize = |new: Value, old: Value| updated("", "Pod", "resize", new, old);
    let more = init(&[("/resources/requests/cpu", json!("2"))]);
    expect("an init container", &resize(pod(more, "c"), pod(init(&[]), "c")), &[]);
    let other = init(&[("/image", json!("j"))]);
    let wanted = [
        "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
    ];
    expect("its image", &resize(pod(other, "c"), pod(init(&[]), "c")), &wanted);
    let wanted = ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"];
    expect("renamed", &resize(pod(init(&[]), "d"), pod(init(&[]), "c")), &wanted);
    let fewer = with(&pod(init(&[]), "c"), &[("/spec/initContainers", Value::Null)]);
    let wanted = ["spec.initContainers: Forbidden: initContainers may not be added or removed on resize"];
    expect("one less", &resize(fewer, pod(init(&[]), "c")), &wanted);
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
        "status.conditions[0].Type: Invalid value: \"a b\": name part must consist of...",
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

/// Which containers may begin anew after they have ended with a code.
#[test]
fn containers_that_come_back() {
    let ended = |code: i64| json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
    let rule = |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
    let refused = &[
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
    ][..];
    for (what, policy, own, rules, code, wanted) in [
        ("always", "Always", None, None, 0, &[][..]),
        ("failed", "OnFailure", None, None, 1, &[]),
        ("did not fail", "OnFailure", None, None, 0, refused),
        ("by its own policy", "Never", Some("Always"), None, 0, &[]),
        ("not by its own policy", "Always", Some("Never"), None, 1, refused),
        ("by its rule", "Never", Some("Never"), Some("Restart"), 42, &[]),
        ("by no rule", "Never", Some("Never"), Some("Restart"), 41, refused),
        ("with all others", "Never", Some("Never"), Some("RestartAllContainers"), 0, &[]),
    ] {
        let mut container = json!({"name": "c", "image": "i"});
        if let Some(own) = own {
            container["restartPolicy"] = own.into();
        }
        if let Some(action) = rules {
            container["restartPolicyRules"] = rule(action);
        }
        let base = pod(&[("/spec/restartPolicy", json!(policy)), ("/spec/containers", json!([container]))]);
        let old = with(&base, &[("/status", json!({"containerStatuses": ended(code)}))]);
        let again = json!([{"name": "c", "state": {"running": {}}}]);
        let new = with(&base, &[("/status", json!({"containerStatuses": again}))]);
        expect(what, &updated("", "Pod", "status", new, old), wanted);
    }
}

#[test]
fn status_of_claims_users_and_devices() {
    let old = with(
        &pod(&[
            ("/spec/resourceClaims", json!([{"name": "r", "resourceClaimName": "x"}])),
            ("/spec/nodeName", json!("n")),
        ]),
        &[(
            "/spec/containers/0/resources",
            json!({"requests": {"a.b/c": "1"}, "limits": {"a.b/c": "1"}, "claims": [{"name": "r"}]}),
        )],
    );
    let status = json!({
        "observedGeneration": -1, "nominatedNodeName": "m",
        "conditions": [{"type": "Ready", "status": "True", "observedGeneration": -2}],
        "resourceClaimStatuses": [{"name": "r", "resourceClaimName": "X"}, {"name": "q"}, {"name": "r"}],
        "extendedResourceClaimStatus": {"requestMappings": [
            {"containerName": "c", "resourceName": "a.b/c", "requestName": "r"},
            {"containerName": "c", "resourceName": "d.e/f", "requestName": "r"},
            {"containerName": "d", "resourceName": "a.b/c", "requestName": "r"}], "resourceClaimName": ""},
        "containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [-2]}},
            "allocatedResourcesStatus": [
                {"name": "a.b/c", "resources": [{"resourceID": "1", "health": "Odd"}, {"resourceID": "1", "health": "Healthy"}]},
                {"name": "claim:r"}, {"name": "claim:q"}, {"name": "cpu"}]}],
        "ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [{"name": "a.b/c"}]}],
    });
    let at = "status.containerStatuses[0]";
    let wanted: Vec<String> = vec![
        "status.conditions[0].observedGeneration: Invalid value: -2: must be a non-negative integer".into(),
        "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node".into(),
        "status.observedGeneration: Invalid value: -1: must be a non-negative integer".into(),
        "status.resourceClaimStatuses[0].resourceClaimName: Invalid value: \"X\": a lowercase RFC 1123 subdomain...".into(),
        "status.resourceClaimStatuses[1].name: Invalid value: \"q\": must match the name of an entry in `spec.resourceClaims`".into(),
        "status.resourceClaimStatuses[2].name: Duplicate value: \"r\"".into(),
        "status.extendedResourceClaimStatus.requestMappings[1].resourceName: Invalid value: \"d.e/f\": must match the extended resource name...".into(),
        "status.extendedResourceClaimStatus.requestMappings[2].containerName: Invalid value: \"d\": must match the name of an entry...".into(),
        "status.extendedResourceClaimStatus.resourceClaimName: Required value".into(),
        format!("{at}.user.linux.uid: Invalid value: -1: must be between 0 and 4294967295, inclusive"),
        format!("{at}.user.linux.supplementalGroups[0]: Invalid value: -2: must be between 0 and 4294967295, inclusive"),
        format!("{at}.allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Odd\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\""),
        format!("{at}.allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"1\""),
        format!("{at}.allocatedResourcesStatus[2].name: Invalid value: \"claim:q\": must match one of the container's resource claims..."),
        format!("{at}.allocatedResourcesStatus[3].name: Invalid value: \"cpu\": must match one of the container's resource requests"),
        "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status".into(),
    ];
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    expect("status", &updated("", "Pod", "status", with(&old, &[("/status", status)]), old), &wanted);
}

/// Addresses that were written by looser rules can stay.
#[test]
fn addresses_that_were_there() {
    let old = pod(&[("/status", json!({"podIPs": [{"ip": "010.0.0.1"}]}))]);
    expect("kept", &updated("", "Pod", "status", old.clone(), old.clone()), &[]);
    let new = with(&old, &[("/status/podIPs", json!([{"ip": "010.0.0.2"}]))]);
    let wanted = ["status.podIPs[0]: Invalid value: \"010.0.0.2\": must not have leading 0s"];
    expect("new", &updated("", "Pod", "status", new, old), &wanted);
}
