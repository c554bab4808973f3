//! Pods and the sentences about them.

use serde_json::json;

use super::*;

fn check(level: Level, spec: Value, expect: &str) {
    assert_eq!(told(&violations(level, &json!({}), &spec)), expect, "{spec}");
}

#[test]
fn baseline() {
    let plain = json!({"containers": [{"name": "a"}]});
    check(Level::Privileged, json!({"hostPID": true}), "");
    check(Level::Baseline, plain, "");
    check(
        Level::Baseline,
        json!({"hostNetwork": true, "hostPID": true, "containers": [
            {"name": "a", "securityContext": {"privileged": true}, "ports": [{"hostPort": 80}]},
            {"name": "b", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        "non-default capabilities (container \"b\" must not include \"NET_ADMIN\" in securityContext.capabilities.add), \
         host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \"v\"), \
         hostPort (container \"a\" uses hostPort 80), \
         privileged (container \"a\" must not set securityContext.privileged=true)",
    );
    check(
        Level::Baseline,
        json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}, "sysctls": [{"name": "kernel.msgmax"}]},
            "containers": []}),
        "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), \
         forbidden sysctls (kernel.msgmax)",
    );
}

#[test]
fn restricted() {
    check(
        Level::Restricted,
        json!({"containers": [{"name": "c"}]}),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
    let hardened = json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}}}]});
    check(Level::Restricted, hardened.clone(), "");
    let mut mounted = hardened;
    mounted["volumes"] = json!([{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}]);
    check(
        Level::Restricted,
        mounted,
        "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \"nfs\")",
    );
}

#[test]
fn labels_say_the_level() {
    let namespace = |labels: Value| json!({"metadata": {"labels": labels}});
    let enforce = |value: &str| namespace(json!({"pod-security.kubernetes.io/enforce": value}));
    assert_eq!(asked(&namespace(json!({})), "enforce"), (Level::Privileged, "privileged:latest".into()));
    assert_eq!(asked(&enforce("baseline"), "enforce"), (Level::Baseline, "baseline:latest".into()));
    assert_eq!(asked(&enforce("odd"), "enforce").0, Level::Restricted);
    assert!(is_version("v1.36") && is_version("latest") && !is_version("1.36"));
}
