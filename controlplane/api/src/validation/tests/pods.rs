//! Pods at creation: containers and everything in them but mounts.

use serde_json::{Value, json};

use super::{Case, created, expect, with};

pub(super) fn pod(changes: &[(&str, Value)]) -> Value {
    let base = json!({"metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    with(&base, changes)
}

pub(super) fn check(cases: Vec<Case<'_>>) {
    for (what, changes, wanted) in cases {
        expect(what, &created("", "Pod", pod(&changes)), wanted);
    }
}

/// The same for one field of the only container.
pub(super) fn check_container(field: &str, cases: Vec<(Value, &[&str])>) {
    let pointer = format!("/spec/containers/0/{field}");
    for (value, wanted) in cases {
        let got = created("", "Pod", pod(&[(&pointer, value.clone())]));
        let got: Vec<String> = got
            .iter()
            .map(|text| text.replace("spec.containers[0].", "").replace(": Invalid value", ":"))
            .collect();
        expect(&value.to_string(), &got, wanted);
    }
}

#[test]
fn containers() {
    let container = |name: &str, more: Value| {
        let mut object = json!({"name": name, "image": "i"});
        for (key, value) in more.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        object
    };
    check(vec![
        ("fine", vec![], &[]),
        ("none", vec![("/spec/containers", json!([]))], &["spec.containers: Required value"]),
        (
            "names and images",
            vec![(
                "/spec/containers",
                json!([{"name": ""}, {"name": "A", "image": " i"}, {"name": "b", "image": "i"}, {"name": "b", "image": "i"}]),
            )],
            &[
                "spec.containers[0].name: Required value",
                "spec.containers[0].image: Required value",
                "spec.containers[1].name: Invalid value: \"A\": a lowercase RFC 1123 label...",
                "spec.containers[3].name: Duplicate value: \"b\"",
                "spec.containers[1].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ],
        ),
        (
            "policies",
            vec![(
                "/spec/containers",
                json!([container("c", json!({"imagePullPolicy": "Odd", "terminationMessagePolicy": "Odd"}))]),
            )],
            &[
                "spec.containers[0].terminationMessagePolicy: Unsupported value: \"Odd\": supported values: \"File\", \"FallbackToLogsOnError\"",
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            "init containers",
            vec![(
                "/spec/initContainers",
                json!([
                    container("c", json!({"lifecycle": {}, "livenessProbe": {"exec": {"command": ["a"]}}})),
                    container(
                        "side",
                        json!({"restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["a"]}}})
                    ),
                    container("odd", json!({"restartPolicy": "Odd"})),
                ]),
            )],
            &[
                "spec.initContainers[0].name: Duplicate value: \"c\"",
                "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                "spec.initContainers[2].restartPolicy: Unsupported value: \"Odd\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ],
        ),
        (
            "restart rules",
            vec![(
                "/spec/containers",
                json!([
                    container("a", json!({"restartPolicyRules": [{"action": "Restart"}]})),
                    container(
                        "b",
                        json!({"restartPolicy": "Never", "restartPolicyRules": [
                    {"action": "Odd", "exitCodes": {"operator": "Equals"}}, {"action": "Restart"}]})
                    ),
                ]),
            )],
            &[
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                "spec.containers[1].restartPolicyRules[0].action: Unsupported value: \"Odd\": supported values: \"Restart\", \"RestartAllContainers\"",
                "spec.containers[1].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Equals\": supported values: \"In\", \"NotIn\"",
                "spec.containers[1].restartPolicyRules[1].exitCodes: Required value: must be specified",
            ],
        ),
        (
            "ephemeral at creation",
            vec![(
                "/spec/ephemeralContainers",
                json!([container(
                    "c",
                    json!({"targetContainerName": "x",
                "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}, "lifecycle": {"preStop": {"exec": {"command": ["a"]}}}})
                )]),
            )],
            &[
                "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
                "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\"",
                "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers[0].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers: Forbidden: cannot be set on create",
            ],
        ),
    ]);
}

#[test]
fn ports() {
    check_container(
        "ports",
        vec![
            (json!([{"containerPort": 80, "name": "http"}]), &[]),
            (
                json!([{"containerPort": 0}, {"containerPort": 70000, "hostPort": -1, "protocol": "X", "name": "80"}]),
                &[
                    "ports[0].containerPort: Required value",
                    "ports[1].name:: \"80\": must contain at least one letter (a-z)",
                    "ports[1].containerPort:: 70000: must be between 1 and 65535, inclusive",
                    "ports[1].hostPort:: -1: must be between 1 and 65535, inclusive",
                    "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                json!([{"containerPort": 80, "name": "a", "hostPort": 8}, {"containerPort": 81, "name": "a", "hostPort": 8}]),
                &["ports[1].name: Duplicate value: \"a\"", "ports[1].hostPort: Duplicate value: \"TCP//8\""],
            ),
        ],
    );
}

#[test]
fn environment() {
    let from = |source: Value| json!([{"name": "A", "valueFrom": source}]);
    check_container(
        "env",
        vec![
            (json!([{"name": "A.b-c d", "value": "x"}]), &[]),
            (json!([{"name": ""}]), &["env[0].name: Required value"]),
            (
                json!([{"name": "a=b"}]),
                &[
                    "env[0].name:: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                ],
            ),
            (
                from(json!({})),
                &[
                    "env[0].valueFrom:: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                ],
            ),
            (
                json!([{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
                &["env[0].valueFrom:: \"\": may not be specified when `value` is not empty"],
            ),
            (
                from(
                    json!({"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}),
                ),
                &["env[0].valueFrom:: \"\": may not have more than one field specified at a time"],
            ),
            (from(json!({"fieldRef": {"fieldPath": "metadata.labels['a']"}})), &[]),
            (
                from(json!({"fieldRef": {"fieldPath": "metadata.labels"}})),
                &[
                    "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
                ],
            ),
            (
                from(json!({"fieldRef": {"fieldPath": "spec.x"}})),
                &[
                    "env[0].valueFrom.fieldRef.fieldPath:: \"spec.x\": error converting fieldPath: field label not supported: spec.x",
                ],
            ),
            (
                from(json!({"resourceFieldRef": {"resource": "limits.gpu"}})),
                &[
                    "env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.gpu\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
                ],
            ),
            (
                from(json!({"configMapKeyRef": {"name": "", "key": ""}})),
                &[
                    "env[0].valueFrom.configMapKeyRef.name:: \"\": a lowercase RFC 1123 subdomain...",
                    "env[0].valueFrom.configMapKeyRef.key: Required value",
                ],
            ),
            (
                from(json!({"fileKeyRef": {"key": "", "volumeName": "", "path": "../x"}})),
                &[
                    "env[0].valueFrom.fileKeyRef.key: Required value",
                    "env[0].valueFrom.fileKeyRef.volumeName: Required value",
                    "env[0].valueFrom.fileKeyRef.path:: \"../x\": must not contain '..'",
                    "env[0].valueFrom.fileKeyRef.volumeName: Not found: \"\"",
                ],
            ),
        ],
    );
    check_container(
        "envFrom",
        vec![
            (json!([{"configMapRef": {"name": "m"}}]), &[]),
            (json!([{}]), &["envFrom:: \"\": must specify one of: `configMapRef` or `secretRef`"]),
            (
                json!([{"prefix": "=", "configMapRef": {"name": ""}, "secretRef": {"name": "A"}}]),
                &[
                    "envFrom[0].prefix:: \"=\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                    "envFrom[0].configMapRef.name: Required value",
                    "envFrom[0].secretRef.name:: \"A\": a lowercase RFC 1123 subdomain...",
                    "envFrom:: \"\": may not have more than one field specified at a time",
                ],
            ),
        ],
    );
}

#[test]
fn resources() {
    check_container(
        "resources",
        vec![
            (json!({"limits": {"cpu": "1", "example.com/gpu": "2"}, "requests": {"cpu": "500m"}}), &[]),
            (
                json!({"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"memory": "2Gi", "cpu": "2"}}),
                &[
                    "resources.requests:: \"2Gi\": must be less than or equal to memory limit of 1Gi",
                    "resources.requests:: \"2\": must be less than or equal to cpu limit of 1",
                ],
            ),
            (
                json!({"requests": {"foo": "1", "storage": "1", "cpu": "-1"}}),
                &[
                    "resources.requests[foo]:: \"foo\": must be a standard resource type or fully qualified",
                    "resources.requests[foo]:: \"foo\": must be a standard resource for containers",
                    "resources.requests[storage]:: \"storage\": must be a standard resource for containers",
                    "resources.requests[cpu]:: \"-1\": must be greater than or equal to 0",
                ],
            ),
            (
                json!({"requests": {"example.com/gpu": "1500m"}}),
                &[
                    "resources.requests[example.com/gpu]:: \"1500m\": must be an integer",
                    "resources.limits: Required value: Limit must be set for non overcommitable resources",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}, "claims": [{"name": "x"}]}),
                &[
                    "resources.limits[hugepages-2Mi]:: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "resources.requests[hugepages-2Mi]:: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "resources: Forbidden: HugePages require cpu or memory",
                    "resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
                ],
            ),
        ],
    );
    check(vec![
        (
            "whole pod",
            vec![
                (
                    "/spec/resources",
                    json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "storage": "1"}}),
                ),
                ("/spec/containers/0/resources", json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3"}})),
            ],
            &[
                "spec.resources.limits[storage]: Unsupported value: \"storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                "spec.resources.containers[0][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
            ],
        ),
        (
            "claims",
            vec![("/spec/resourceClaims", json!([{"name": "a"}, {"name": "a", "resourceClaimName": "A"}]))],
            &[
                "spec.resourceClaims[0]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                "spec.resourceClaims[1].name: Duplicate value: \"a\"",
                "spec.resourceClaims[1].resourceClaimName: Invalid value: \"A\": a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "overhead",
            vec![("/spec/overhead", json!({"cpu": "-1"}))],
            &["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
    ]);
}

#[test]
fn probes() {
    check_container(
        "livenessProbe",
        vec![
            (json!({"httpGet": {"port": 80}}), &[]),
            (json!({}), &["livenessProbe: Required value: must specify a handler type"]),
            (
                json!({"exec": {"command": []}, "tcpSocket": {"port": 80}, "periodSeconds": -1, "successThreshold": 2, "terminationGracePeriodSeconds": 0}),
                &[
                    "livenessProbe.exec.command: Required value",
                    "livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
                    "livenessProbe.periodSeconds:: -1: must be greater than or equal to 0",
                    "livenessProbe.terminationGracePeriodSeconds:: 0: must be greater than 0",
                    "livenessProbe.successThreshold:: 2: must be 1",
                ],
            ),
            (
                json!({"httpGet": {"port": "_", "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}}),
                &[
                    "livenessProbe.httpGet.port:: \"_\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                    "livenessProbe.httpGet.port:: \"_\": must contain at least one letter (a-z)",
                    "livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
                    "livenessProbe.httpGet.httpHeaders:: \"a b\": a valid HTTP header must consist of...",
                ],
            ),
            (
                json!({"grpc": {"port": 0}}),
                &["livenessProbe.grpc.port:: 0: must be between 1 and 65535, inclusive"],
            ),
        ],
    );
    check_container(
        "readinessProbe",
        vec![(
            json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5}),
            &["readinessProbe.terminationGracePeriodSeconds:: 5: must not be set for readinessProbes"],
        )],
    );
    check_container(
        "lifecycle",
        vec![(
            json!({"preStop": {"sleep": {"seconds": 31}}, "postStart": {}}),
            &[
                "lifecycle.postStart: Required value: must specify a handler type",
                "lifecycle.preStop.sleep:: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        )],
    );
    check_container(
        "resizePolicy",
        vec![(
            json!([{"resourceName": "cpu", "restartPolicy": "Odd"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "disk", "restartPolicy": ""}]),
            &[
                "resizePolicy: Unsupported value: \"Odd\": supported values: \"NotRequired\", \"RestartContainer\"",
                "resizePolicy[1]: Duplicate value: \"cpu\"",
                "resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
                "resizePolicy: Required value",
            ],
        )],
    );
}
