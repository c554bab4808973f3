//! Pods at creation: security, scheduling, and what a PodSpec says as a whole.

use serde_json::json;

use super::pods::{check, check_container};

#[test]
fn security() {
    check_container(
        "securityContext",
        vec![
            (json!({"runAsUser": 0, "privileged": true}), &[]),
            (
                json!({"runAsUser": -1, "runAsGroup": 4294967296_i64, "procMount": "Unmasked"}),
                &[
                    "securityContext.runAsUser:: -1: must be between 0 and 4294967295, inclusive",
                    "securityContext.runAsGroup:: 4294967296: must be between 0 and 4294967295, inclusive",
                    "securityContext.procMount:: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
                ],
            ),
            (
                json!({"allowPrivilegeEscalation": false, "privileged": true, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}),
                &["securityContext:: {...", "securityContext:: {..."],
            ),
            (
                json!({"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}}),
                &[
                    "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                    "securityContext.appArmorProfile.localhostProfile:: \" a\": must not be padded with whitespace",
                ],
            ),
            (
                json!({"seccompProfile": {"type": "Odd"}, "appArmorProfile": {"type": ""}}),
                &[
                    "securityContext.seccompProfile.type: Unsupported value: \"Odd\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
                    "securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set",
                ],
            ),
        ],
    );
    check(vec![
        (
            "pod",
            vec![
                ("/spec/hostPID", json!(true)),
                ("/spec/shareProcessNamespace", json!(true)),
                (
                    "/spec/securityContext",
                    json!({"fsGroup": -1, "supplementalGroups": [-1], "fsGroupChangePolicy": "Odd",
                    "sysctls": [{"name": "", "value": ""}, {"name": "A", "value": ""}, {"name": "a.b", "value": ""}, {"name": "a.b", "value": ""}]}),
                ),
            ],
            &[
                "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 4294967295, inclusive",
                "spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 4294967295, inclusive",
                "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                "spec.securityContext.sysctls[0].name: Required value",
                "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                "spec.securityContext.sysctls[3].name: Duplicate value: \"a.b\"",
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnRootMismatch\"",
            ],
        ),
        (
            "host's network",
            vec![
                ("/spec/hostNetwork", json!(true)),
                ("/spec/securityContext", json!({"sysctls": [{"name": "net/core/x", "value": "1"}]})),
                ("/spec/containers/0/ports", json!([{"containerPort": 80, "hostPort": 81}])),
            ],
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
                "spec.securityContext.sysctls[0].name: Invalid value: \"net/core/x\": may not be specified when 'hostNetwork' is true",
            ],
        ),
        (
            "own users",
            vec![("/spec/hostUsers", json!(false)), ("/spec/hostIPC", json!(true))],
            &["spec.HostIPC: Forbidden: when `hostUsers` is false"],
        ),
        (
            "for Linux",
            vec![
                ("/spec/os", json!({"name": "linux"})),
                ("/spec/securityContext", json!({"windowsOptions": {}})),
            ],
            &[
                "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            ],
        ),
        (
            "annotations",
            vec![(
                "/metadata/annotations",
                json!({"container.apparmor.security.beta.kubernetes.io/x": "odd",
                    "controller.kubernetes.io/pod-deletion-cost": "+5", "kubernetes.io/config.mirror": "m"}),
            )],
            &[
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"m\": must set spec.nodeName if mirror pod annotation is set",
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+5\": must be a 32bit integer",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: \"x\": container not found",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: \"odd\": invalid AppArmor profile name: \"odd\"",
            ],
        ),
        (
            "annotation and field",
            vec![
                ("/metadata/annotations", json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"})),
                ("/spec/securityContext", json!({"seccompProfile": {"type": "RuntimeDefault"}})),
            ],
            &[
                "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
            ],
        ),
    ]);
}

#[test]
fn whole_spec() {
    check(vec![
        (
            "policies",
            vec![
                ("/spec/restartPolicy", json!("Odd")),
                ("/spec/dnsPolicy", json!("Odd")),
                ("/spec/preemptionPolicy", json!("Odd")),
            ],
            &[
                "spec.restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                "spec.dnsPolicy: Unsupported value: \"Odd\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
                "spec.preemptionPolicy: Unsupported value: \"Odd\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            "names",
            vec![
                ("/spec/serviceAccountName", json!("A")),
                ("/spec/nodeName", json!("B")),
                ("/spec/hostname", json!("C")),
                ("/spec/subdomain", json!("D")),
                ("/spec/priorityClassName", json!("E")),
                ("/spec/runtimeClassName", json!("F")),
                ("/spec/nodeSelector", json!({"k": "a b"})),
                ("/spec/activeDeadlineSeconds", json!(0)),
                ("/spec/os", json!({"name": "plan9"})),
            ],
            &[
                "spec.nodeSelector: Invalid value: \"a b\": a valid label must be...",
                "spec.serviceAccountName: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
                "spec.nodeName: Invalid value: \"B\": a lowercase RFC 1123 subdomain...",
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
                "spec.hostname: Invalid value: \"C\": a lowercase RFC 1123 label...",
                "spec.subdomain: Invalid value: \"D\": a lowercase RFC 1123 label...",
                "spec.priorityClassName: Invalid value: \"E\": a lowercase RFC 1123 subdomain...",
                "spec.runtimeClassName: Invalid value: \"F\": a lowercase RFC 1123 subdomain...",
                "spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
            ],
        ),
        (
            "no DNS",
            vec![("/spec/dnsPolicy", json!("None"))],
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            "DNS",
            vec![(
                "/spec/dnsConfig",
                json!({"nameservers": ["1.1.1.1", "x", "fd00::1", "1.1.1.2"], "searches": ["a_b.", ".", "A"], "options": [{}]}),
            )],
            &[
                "spec.dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"x\",\"fd00::1\",\"1.1.1.2\"]: must not have more than 3 nameservers",
                "spec.dnsConfig.nameservers[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.dnsConfig.searches[2]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.'...",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        ),
        (
            "host aliases",
            vec![("/spec/hostAliases", json!([{"ip": "::ffff:1.2.3.4", "hostnames": ["A"]}]))],
            &[
                "spec.hostAliases[0].ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address",
                "spec.hostAliases[0].hostnames[0]: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "gates",
            vec![
                ("/spec/nodeName", json!("n")),
                ("/spec/schedulingGates", json!([{"name": "a.b/c"}, {"name": "a.b/c"}])),
                ("/spec/readinessGates", json!([{"conditionType": "a b"}])),
            ],
            &[
                "spec.readinessGates[0].conditionType: Invalid value: \"a b\": name part must consist of...",
                "spec.schedulingGates[1]: Duplicate value: \"a.b/c\"",
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
    ]);
}

#[test]
fn scheduling() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    check(vec![
        (
            "tolerations",
            vec![(
                "/spec/tolerations",
                json!([
                {"operator": "Equal"},
                {"key": "k", "operator": "Exists", "value": "v", "tolerationSeconds": 1, "effect": "NoSchedule"},
                {"key": "k", "operator": "Odd", "effect": "Odd"},
                {"operator": "Exists"}]),
            )],
            &[
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                "spec.tolerations[1].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                "spec.tolerations[1].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'",
                "spec.tolerations[2].operator: Unsupported value: \"Odd\": supported values: \"Equal\", \"Exists\"",
                "spec.tolerations[2].effect: Unsupported value: \"Odd\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            "node affinity",
            vec![(
                "/spec/affinity",
                json!({"nodeAffinity": {
                required: {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt", "values": ["1", "2"]},
                    {"key": "c", "operator": "Exists", "values": ["x"]}, {"key": "d", "operator": "Odd"}, {"key": "e", "operator": "In", "values": ["a b"]}],
                    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["A"]}, {"key": "x", "operator": "Gt"}]}]},
                preferred: [{"weight": 0, "preference": {}}]}}),
            )],
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].operator: Invalid value: \"Odd\": not a valid selector operator",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[4].values[0]: Invalid value: \"a b\": a valid label must be...",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values[0]: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[1].operator: Invalid value: \"Gt\": not a valid selector operator",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[1].key: Invalid value: \"x\": not a valid field selector key",
                "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
            ],
        ),
        (
            "no terms",
            vec![("/spec/affinity", json!({"nodeAffinity": {required: {"nodeSelectorTerms": []}}}))],
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            "pod affinity",
            vec![(
                "/spec/affinity",
                json!({"podAntiAffinity": {required: [
                {"topologyKey": "", "namespaces": ["A"], "matchLabelKeys": ["a"]},
                {"topologyKey": "k", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"]}]}}),
            )],
            &[
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: \"A\": a lowercase RFC 1123 label...",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must be non-empty",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist of...",
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and mismatchLabelKeys",
            ],
        ),
        (
            "spread",
            vec![(
                "/spec/topologySpreadConstraints",
                json!([
                {"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Odd"},
                {"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 0, "nodeTaintsPolicy": "Odd", "matchLabelKeys": ["a"]},
                {"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"},
                    "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, "matchLabelKeys": ["a"]}]),
            )],
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Odd\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
                "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{k, ScheduleAnyway}\"",
                "spec.topologySpreadConstraints[1].minDomains: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[1].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                "spec.topologySpreadConstraints[1].nodeTaintsPolicy: Unsupported value: \"Odd\": supported values: \"Honor\", \"Ignore\"",
                "spec.topologySpreadConstraints[1].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
                "spec.topologySpreadConstraints[2].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
            ],
        ),
    ]);
}

#[test]
fn host_names_and_files() {
    let long = "a".repeat(65);
    let file = |volume: &str| json!([{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k", "volumeName": volume, "path": "x"}}}]);
    let volumes = json!([{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/"}}]);
    let files =
        |volume: &str| vec![("/spec/volumes", volumes.clone()), ("/spec/containers/0/env", file(volume))];
    let at = "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName";
    let (absent, other) = (
        format!("{at}: Not found: \"x\""),
        format!("{at}: Invalid value: \"h\": referenced volume must be of type emptyDir"),
    );
    check(vec![
        (
            "override",
            vec![
                ("/spec/hostnameOverride", json!(long)),
                ("/spec/hostNetwork", json!(true)),
                ("/spec/setHostnameAsFQDN", json!(true)),
            ],
            &[
                "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
                "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
                "spec.hostnameOverride: Too long: may not be more than 64 bytes",
            ],
        ),
        ("files", files("e"), &[]),
        ("files of no volume", files("x"), &[&absent]),
        ("files of another volume", files("h"), &[&other]),
        (
            "devices with users of its own",
            vec![
                ("/spec/hostUsers", json!(false)),
                ("/spec/volumes", json!([{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}])),
                ("/spec/containers/0/volumeDevices", json!([{"name": "v", "devicePath": "/dev/x"}])),
            ],
            &["spec.containers[0].volumeDevices: Forbidden: when `hostUsers` is false"],
        ),
        (
            "comparing tolerations",
            vec![("/spec/tolerations", json!([{"key": "a", "operator": "Gt", "value": "1"}]))],
            &[
                "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
            ],
        ),
        (
            "an init container that resizing restarts",
            vec![(
                "/spec/initContainers",
                json!([{"name": "i", "image": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]),
            )],
            &[
                "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
            ],
        ),
        (
            "claims of a static pod",
            vec![
                ("/metadata/annotations", json!({"kubernetes.io/config.mirror": "m"})),
                ("/spec/nodeName", json!("n")),
                ("/spec/resourceClaims", json!([{"name": "r", "resourceClaimName": "x"}])),
            ],
            &[": Forbidden: static pods do not support resource claims"],
        ),
    ]);
}

#[test]
fn windows() {
    let user =
        |name: &str| vec![("/spec/securityContext", json!({"windowsOptions": {"runAsUserName": name}}))];
    let says = |why: &str, name: &str| {
        let shown = crate::field::quote(name);
        format!(
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: {shown}: runAsUserName{why}"
        )
    };
    let only = |field: &str| format!("spec.{field}: Forbidden: cannot be set for a windows pod");
    let (empty, control, slashes) = (
        says(" cannot be an empty string", ""),
        says(" cannot contain control characters", "a\u{1}"),
        says(" cannot contain more than one backslash", "a\\b\\c"),
    );
    let (domain, dots, odd) = (
        says("'s Domain doesn't match the NetBios nor the DNS format", "a?\\b"),
        says("'s User cannot contain only periods or spaces", ". ."),
        says("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]", "a@b"),
    );
    let refused = [
        only("securityContext.seLinuxOptions"),
        only("hostPID"),
        only("securityContext.fsGroup"),
        only("securityContext.runAsUser"),
        only("containers[0].securityContext.privileged"),
    ];
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    check(vec![
        ("a user", user("CORP\\ann"), &[]),
        ("no user", user(""), &[&empty]),
        ("control", user("a\u{1}"), &[&control]),
        ("slashes", user("a\\b\\c"), &[&slashes]),
        ("domain", user("a?\\b"), &[&domain]),
        ("dots", user(". ."), &[&dots]),
        ("odd", user("a@b"), &[&odd]),
        (
            "what only Linux has",
            vec![
                ("/spec/os", json!({"name": "windows"})),
                ("/spec/hostPID", json!(true)),
                (
                    "/spec/securityContext",
                    json!({"seLinuxOptions": {"user": "u"}, "fsGroup": 1, "runAsUser": 1}),
                ),
                ("/spec/containers/0/securityContext", json!({"privileged": true})),
            ],
            &refused,
        ),
        (
            "resources of a whole pod",
            vec![
                ("/spec/os", json!({"name": "windows"})),
                ("/spec/resources", json!({"requests": {"cpu": "1"}})),
            ],
            &["spec.resources: Forbidden: may not be set for a windows pod"],
        ),
        (
            "processes of the host",
            vec![(
                "/spec/containers",
                json!([{"name": "c", "image": "i", "securityContext": {"windowsOptions": {"hostProcess": true}}}, {"name": "d", "image": "i"}]),
            )],
            &[
                "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ],
        ),
    ]);
}
