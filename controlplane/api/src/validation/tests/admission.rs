//! Admission webhooks, policies, bindings.

use serde_json::{Value, json};

use super::{Case, created, expect, updated, with};

const GROUP: &str = "admissionregistration.k8s.io";

fn rule() -> Value {
    json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]})
}

fn hook(changes: &[(&str, Value)]) -> Value {
    let base = json!({"metadata": {"name": "h"}, "webhooks": [{"name": "a.b.c", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://h/x"}, "rules": [rule()]}]});
    with(&base, changes)
}

#[test]
fn webhooks() {
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        ("no name", vec![("/webhooks/0/name", json!(""))], &["webhooks[0].name: Required value"]),
        (
            "short name",
            vec![("/webhooks/0/name", json!("a.b"))],
            &[
                "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three segments separated by dots",
            ],
        ),
        (
            "odd name",
            vec![("/webhooks/0/name", json!("A"))],
            &["webhooks[0].name: Invalid value: \"A\": a lowercase RFC 1123 subdomain..."],
        ),
        (
            "versions",
            vec![("/webhooks/0/admissionReviewVersions", json!(["v2", "v2", "V3"]))],
            &[
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "webhooks[0].admissionReviewVersions[2]: Invalid value: \"V3\": a DNS-1035 label...",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\",\"V3\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            "policies",
            vec![
                ("/webhooks/0/failurePolicy", json!("Maybe")),
                ("/webhooks/0/sideEffects", json!("Some")),
                ("/webhooks/0/timeoutSeconds", json!(31)),
                ("/webhooks/0/reinvocationPolicy", json!("Ever")),
            ],
            &[
                "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Ever\": supported values: \"IfNeeded\", \"Never\"",
            ],
        ),
        (
            "rules",
            vec![(
                "/webhooks/0/rules",
                json!([{"operations": ["*", "EAT"], "apiGroups": ["*", "a"], "apiVersions": [""], "resources": ["pods/*", "pods/x", "*/y", "z/y", "", "*", "q"],
                    "scope": "Here"}]),
            )],
            &[
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"EAT\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"EAT\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
                "webhooks[0].rules[0].apiGroups: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other API groups",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/x\": if 'pods/*' is present, must not specify pods/x",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"z/y\": if '*/y' is present, must not specify z/y",
                "webhooks[0].rules[0].resources[4]: Required value",
                "webhooks[0].rules[0].resources: Invalid value: [\"pods/*\",\"pods/x\",\"*/y\",\"z/y\",\"\",\"*\",\"q\"]: if '*' is present, must not specify other resources without subresources",
                "webhooks[0].rules[0].scope: Unsupported value: \"Here\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        ),
        (
            "everything and more",
            vec![("/webhooks/0/rules/0/resources", json!(["*/*", "pods"]))],
            &[
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
            ],
        ),
        (
            "URL",
            vec![("/webhooks/0/clientConfig/url", json!("http://u:p@?q=1#f"))],
            &[
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ],
        ),
        (
            "Service",
            vec![(
                "/webhooks/0/clientConfig",
                json!({"service": {"name": "", "namespace": "n", "port": 0, "path": "a//B"}}),
            )],
            &[
                "webhooks[0].clientConfig.service.namespace: Required value",
                "webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B\": must start with a '/'",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B\": segment[0] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B\": segment[1] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//B\": segment[2]: a lowercase RFC 1123 subdomain...",
            ],
        ),
        (
            "neither",
            vec![("/webhooks/0/clientConfig", json!({}))],
            &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            "conditions",
            vec![(
                "/webhooks/0/matchConditions",
                json!([{"name": "", "expression": " "}, {"name": "x", "expression": "1"}, {"name": "x", "expression": "params.x == 1"}]),
            )],
            &[
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[0].name: Required value",
                "webhooks[0].matchConditions[1].expression: Invalid value: \"1\": must evaluate to bool but got int",
                "webhooks[0].matchConditions[2].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'...",
                "webhooks[0].matchConditions[2].name: Duplicate value: \"x\"",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "MutatingWebhookConfiguration", hook(&changes)), wanted);
    }
    let mut twice = hook(&[]);
    twice["webhooks"] = json!([twice["webhooks"][0], twice["webhooks"][0]]);
    let wanted = ["webhooks[1].name: Duplicate value: \"a.b.c\""];
    expect("twice", &created(GROUP, "ValidatingWebhookConfiguration", twice), &wanted);
}

fn policy(changes: &[(&str, Value)]) -> Value {
    let base = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [rule()]},
        "validations": [{"expression": "object.spec.replicas < 5"}]}});
    with(&base, changes)
}

#[test]
fn policies() {
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "nothing",
            vec![("/spec/validations", json!([])), ("/spec/matchConstraints", Value::Null)],
            &[
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            "kind of parameters",
            vec![("/spec/paramKind", json!({"apiVersion": "A/b/c", "kind": "1"}))],
            &[
                "spec.paramKind.apiVersion: Invalid value: \"A/b/c\": unexpected GroupVersion string: A/b/c",
                "spec.paramKind.kind: Invalid value: \"1\": may have mixed case, but should otherwise match: a DNS-1035 label...",
            ],
        ),
        (
            "constraints",
            vec![
                ("/spec/matchConstraints/matchPolicy", json!("Odd")),
                ("/spec/matchConstraints/resourceRules", json!([])),
                (
                    "/spec/matchConstraints/excludeResourceRules",
                    json!([with(&rule(), &[("/resourceNames", json!(["a/b", "c", "c"]))])]),
                ),
            ],
            &[
                "spec.matchConstraints.matchPolicy: Unsupported value: \"Odd\": supported values: \"Equivalent\", \"Exact\"",
                "spec.matchConstraints.excludeResourceRules[0].resourceNames[0]: Invalid value: \"a/b\": may not contain '/'",
                "spec.matchConstraints.excludeResourceRules[0].resourceNames[2]: Duplicate value: \"c\"",
                "spec.matchConstraints.resourceRules: Required value",
            ],
        ),
        (
            "variables",
            vec![(
                "/spec/variables",
                json!([{"name": "1a", "expression": "1"}, {"name": " ", "expression": ""}]),
            )],
            &[
                "spec.variables[0].name: Invalid value: \"1a\": must be a valid CEL identifier",
                "spec.variables[1].name: Required value: name is not specified",
                "spec.variables[1].expression: Required value: expression is not specified",
            ],
        ),
        (
            "validations",
            vec![(
                "/spec/validations",
                json!([{"expression": "true", "message": " ", "messageExpression": " ", "reason": "Odd"},
                    {"expression": "'a'", "message": "a\nb", "messageExpression": "authorizer"}]),
            )],
            &[
                "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
                "spec.validations[0].message: Invalid value: \" \": must be non-empty if specified",
                "spec.validations[0].reason: Unsupported value: \"Odd\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                "spec.validations[1].expression: Invalid value: \"'a'\": must evaluate to bool but got string",
                "spec.validations[1].messageExpression: Invalid value: \"authorizer\": compilation failed: ERROR...",
                "spec.validations[1].message: Invalid value: \"a\\nb\": must not contain line breaks",
            ],
        ),
        (
            "annotations",
            vec![(
                "/spec/auditAnnotations",
                json!([{"key": "a", "valueExpression": "'x'"}, {"key": "a", "valueExpression": ""}, {"key": "b c", "valueExpression": "'x'"}]),
            )],
            &[
                "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
                "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
                "spec.auditAnnotations[2].key: Invalid value: \"p/b c\": name part must consist of...",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "ValidatingAdmissionPolicy", policy(&changes)), wanted);
    }
    let status = json!({"typeChecking": {"expressionWarnings": [{"fieldRef": "", "warning": "w"}]}});
    let wanted = ["status.typeChecking.expressionWarnings[0].fieldRef: Required value"];
    let new = policy(&[("/status", status)]);
    expect("status", &updated(GROUP, "ValidatingAdmissionPolicy", "status", new, policy(&[])), &wanted);
}

#[test]
fn mutations() {
    let mutating = |changes: &[(&str, Value)]| {
        let base = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [rule()]},
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}});
        with(&base, changes)
    };
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "nothing",
            vec![("/spec/mutations", json!([])), ("/spec/reinvocationPolicy", Value::Null)],
            &[
                "spec.mutations: Required value: mutations must contain at least one item",
                "spec.reinvocationPolicy: Required value",
            ],
        ),
        (
            "what goes",
            vec![("/spec/matchConstraints/resourceRules/0/operations", json!(["DELETE"]))],
            &[
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
            ],
        ),
        (
            "patches",
            vec![(
                "/spec/mutations",
                json!([{"patchType": ""}, {"patchType": "Odd"}, {"patchType": "ApplyConfiguration", "jsonPatch": {"expression": "[]"}},
                    {"patchType": "JSONPatch", "jsonPatch": {"expression": " "}}]),
            )],
            &[
                "spec.mutations[0].patchType: Required value",
                "spec.mutations[1].patchType: Unsupported value: \"Odd\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
                "spec.mutations[2].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
                "spec.mutations[2].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is ApplyConfiguration",
                "spec.mutations[3].jsonPatch.expression: Required value",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "MutatingAdmissionPolicy", mutating(&changes)), wanted);
    }
}

#[test]
fn bindings() {
    let binding = |changes: &[(&str, Value)]| {
        let base =
            json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        with(&base, changes)
    };
    let cases: Vec<Case<'_>> = vec![
        ("fine", vec![], &[]),
        (
            "actions",
            vec![("/spec/validationActions", json!(["Deny", "Deny", "Warn", "Odd"]))],
            &[
                "spec.validationActions[1]: Duplicate value: \"Deny\"",
                "spec.validationActions[3]: Unsupported value: \"Odd\": supported values: \"Audit\", \"Deny\", \"Warn\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Deny\",\"Warn\",\"Odd\"]: must not contain both Deny and Warn...",
            ],
        ),
        (
            "reference",
            vec![
                ("/spec/policyName", json!("P")),
                ("/spec/paramRef", json!({"name": "a/b", "selector": {}})),
                ("/spec/validationActions", json!([])),
            ],
            &[
                "spec.policyName: Invalid value: \"P\": a lowercase RFC 1123 subdomain...",
                "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        ),
        (
            "no reference",
            vec![("/spec/paramRef", json!({"parameterNotFoundAction": "Odd"}))],
            &[
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Odd\": supported values: \"Deny\", \"Allow\"",
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        expect(what, &created(GROUP, "ValidatingAdmissionPolicyBinding", binding(&changes)), wanted);
    }
    let goes = json!({"resourceRules": [with(&rule(), &[("/operations", json!(["DELETE"]))])]});
    let object = json!({"metadata": {"name": "b"}, "spec": {"policyName": "", "matchResources": goes}});
    let wanted = [
        "spec.policyName: Required value",
        "spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
    ];
    expect("mutating", &created(GROUP, "MutatingAdmissionPolicyBinding", object), &wanted);
}
