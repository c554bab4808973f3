//! Pods and the sentences about them.

use serde_json::json;

use super::*;

fn check(level: Level, spec: Value, expect: &str) {
    check_at(level, NEWEST, &spec, expect);
}

fn check_at(level: Level, minor: Minor, spec: &Value, expect: &str) {
    let policy = Policy { level, minor, shown: String::new() };
    assert_eq!(told(&policy.violations(&json!({}), spec)), expect, "{minor} {spec}");
}

#[test]
fn versions_of_the_standards() {
    let sysctls = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "net.ipv4.tcp_fin_timeout"}]}});
    check_at(Level::Baseline, 36, &sysctls, "");
    check_at(Level::Baseline, 31, &sysctls, "forbidden sysctls (net.ipv4.tcp_rmem)");
    check_at(
        Level::Baseline,
        28,
        &sysctls,
        "forbidden sysctls (net.ipv4.tcp_rmem, net.ipv4.tcp_fin_timeout)",
    );
    let engine = json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}});
    check_at(Level::Baseline, 31, &engine, "");
    check_at(
        Level::Baseline,
        30,
        &engine,
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")",
    );
    let probed = json!({"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "1.2.3.4"}}}]});
    check_at(Level::Baseline, 33, &probed, "");
    check_at(
        Level::Baseline,
        34,
        &probed,
        "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"1.2.3.4\")",
    );
    let hardened = json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false}}]});
    check_at(Level::Restricted, 18, &hardened, "");
    check_at(
        Level::Restricted,
        22,
        &hardened,
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
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
    let policy = |level: Level, minor: Minor, shown: &str| Policy { level, minor, shown: shown.to_owned() };
    let plain = asked(&namespace(json!({})), "enforce");
    assert_eq!(plain, policy(Level::Privileged, NEWEST, "privileged:latest"));
    assert_eq!(asked(&enforce("baseline"), "enforce"), policy(Level::Baseline, NEWEST, "baseline:latest"));
    assert_eq!(asked(&enforce("odd"), "enforce").level, Level::Restricted);
    let old = json!({"pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/warn-version": "v1.25"});
    assert_eq!(asked(&namespace(old), "warn"), policy(Level::Baseline, 25, "baseline:v1.25"));
    assert!(is_version("v1.36") && is_version("latest") && !is_version("1.36"));
}
