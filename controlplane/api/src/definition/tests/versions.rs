//! What definitions and their versions may say, beyond their schemas.

use serde_json::{Value, json};

use super::super::*;
use super::{check, check_version, expect, tabs};

#[test]
fn names() {
    check(
        |definition| definition["spec"]["names"] = json!({}),
        &[
            "metadata.name: Invalid value: \"tabs.x.io\": must be spec.names.plural+\".\"+spec.group",
            "spec.names.plural: Required value",
            "spec.names.singular: Required value",
            "spec.names.kind: Required value",
            "spec.names.listKind: Required value",
        ],
    );
    check(
        |definition| {
            definition["spec"]["names"] = json!({"plural": "tabs", "singular": "Tab", "kind": "Tab_", "listKind": "Tab_",
                "shortNames": ["t", "T"], "categories": ["all", "a.b"]});
        },
        &[
            "spec.names.singular: Invalid value: \"Tab\": a DNS-1035 label must...",
            "spec.names.kind: Invalid value: \"Tab_\": may have mixed case, but should otherwise match: a DNS-1035...",
            "spec.names.listKind: Invalid value: \"Tab_\": may have mixed case, but should otherwise match: a DNS-1035...",
            "spec.names.shortNames[1]: Invalid value: \"T\": a DNS-1035 label must...",
            "spec.names.categories[1]: Invalid value: \"a.b\": a DNS-1035 label must...",
            "spec.names.listKind: Invalid value: \"Tab_\": kind and listKind may not be the same",
        ],
    );
    check(|definition| definition["spec"]["scope"] = "".into(), &["spec.scope: Required value"]);
}

#[test]
fn versions_together() {
    let two = |second: Value| {
        move |definition: &mut Value| {
            definition["spec"]["versions"].as_array_mut().unwrap().push(second);
        }
    };
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    check(two(json!({"name": "v2", "served": true, "storage": false, "schema": schema.clone()})), &[]);
    check(
        two(json!({"name": "v1", "served": true, "storage": true, "schema": schema})),
        &["spec.versions: Invalid value: [...", "spec.versions: Invalid value: [..."],
    );
    // What differs is complained about where it is.
    check(
        two(
            json!({"name": "V2", "served": true, "storage": false, "additionalPrinterColumns": [{"name": "a"}],
            "schema": {"openAPIV3Schema": {"type": "object", "nullable": true}}}),
        ),
        &[
            "spec.versions[1].name: Invalid value: \"V2\": a DNS-1035 label must...",
            "spec.versions[1].schema.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root",
            "spec.versions[1].additionalPrinterColumns[0].type: Required value: must be one of boolean,date,integer,number,string",
            "spec.versions[1].additionalPrinterColumns[0].JSONPath: Required value",
        ],
    );
}

#[test]
fn columns_and_scale() {
    check_version(
        json!({"additionalPrinterColumns": [{"name": "a", "type": "string", "jsonPath": ".a", "format": "date"}]}),
        &[],
    );
    check_version(
        json!({"additionalPrinterColumns": [{"type": "text", "format": "time", "jsonPath": "a"}]}),
        &[
            "spec.additionalPrinterColumns[0].name: Required value",
            "spec.additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[0].format: Invalid value: \"time\": must be one of byte,date,date-time,double,float,int32,int64,password",
            "spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .",
        ],
    );
    check_version(
        json!({"subresources": {"scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n", "labelSelectorPath": ".spec.l"}}}),
        &[],
    );
    check_version(
        json!({"subresources": {"scale": {"statusReplicasPath": ".spec.n", "labelSelectorPath": ".n"}}}),
        &[
            "spec.subresources.scale.specReplicasPath: Required value",
            "spec.subresources.scale.statusReplicasPath: Invalid value: \".spec.n\": should be a json path under .status",
            "spec.subresources.scale.labelSelectorPath: Invalid value: \".n\": should be a json path under either .spec or .status",
        ],
    );
}

#[test]
fn deprecations() {
    check_version(json!({"deprecated": true, "deprecationWarning": "use v2"}), &[]);
    for (deprecated, warning, wanted) in [
        (false, "use v2", "can only be set for deprecated versions"),
        (true, "", "must not be an empty string"),
        (
            true,
            "a\tb",
            "must only contain printable UTF-8 characters; non-printable character found at index 1",
        ),
    ] {
        let part = json!({"deprecated": deprecated, "deprecationWarning": warning});
        let wanted =
            format!("spec.versions[0].deprecationWarning: Invalid value: {}: {wanted}", json!(warning));
        check_version(part, &[&wanted]);
    }
    check_version(
        json!({"deprecated": true, "deprecationWarning": "a".repeat(257)}),
        &["spec.versions[0].deprecationWarning: Invalid value: \"aaaa..."],
    );
}

#[test]
fn selectable_fields() {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"metadata": {"type": "object", "properties":
        {"name": {"type": "string"}}}, "a": {"type": "string"}, "n": {"type": "number"}}}});
    let with = |paths: &[&str]| {
        let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
        json!({"schema": schema, "selectableFields": fields})
    };
    check_version(with(&[".a"]), &[]);
    check_version(
        with(&[".a", "", ".metadata.name", ".n", ".b", ".a[0]", ".a"]),
        &[
            "spec.selectableFields[1].jsonPath: Required value",
            "spec.selectableFields[2].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
            "spec.selectableFields[3].jsonPath: Invalid value: \".n\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            "spec.selectableFields[4].jsonPath: Invalid value: \".b\": is an invalid path: does not refer to a valid field",
            "spec.selectableFields[5].jsonPath: Invalid value: \".a[0]\": is an invalid path: array notation is not allowed",
            "spec.selectableFields[6].jsonPath: Duplicate value: \".a\"",
        ],
    );
}

#[test]
fn conversions() {
    let with =
        |conversion: Value| move |definition: &mut Value| definition["spec"]["conversion"] = conversion;
    let service = |service: Value| {
        with(
            json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}}}),
        )
    };
    check(service(json!({"namespace": "a", "name": "b", "path": "/c"})), &[]);
    check(
        service(json!({"port": 0, "path": "c//D"})),
        &[
            "spec.conversion.webhookClientConfig.service.name: Required value",
            "spec.conversion.webhookClientConfig.service.namespace: Required value",
            "spec.conversion.webhookClientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"c//D\": must start with a '/'",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"c//D\": segment[0] may not be empty",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"c//D\": segment[1] may not be empty",
            "spec.conversion.webhookClientConfig.service.path: Invalid value: \"c//D\": segment[2]: a lowercase RFC 1123 subdomain...",
        ],
    );
    check(
        with(json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v2", "v2", "V"],
            "clientConfig": {"url": "http://u@/#f"}}})),
        &[
            "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
            "spec.conversion.webhookClientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
            "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "spec.conversion.conversionReviewVersions[2]: Invalid value: \"V\": a DNS-1035 label must...",
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\",\"v2\",\"V\"]: must include at least one of v1, v1beta1",
        ],
    );
    check(
        with(
            json!({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {}}}),
        ),
        &[
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
        ],
    );
    check(
        with(json!({"strategy": "Hook"})),
        &["spec.conversion.strategy: Unsupported value: \"Hook\": supported values: \"None\", \"Webhook\""],
    );
}

#[test]
fn approvals() {
    let of = |said: Option<&str>| {
        let mut definition = tabs();
        definition["metadata"]["name"] = "tabs.x.k8s.io".into();
        definition["spec"]["group"] = "x.k8s.io".into();
        if let Some(said) = said {
            definition["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": said});
        }
        definition
    };
    const FIELD: &str = "metadata.annotations[api-approved.kubernetes.io]";
    let needs = "protected groups must have approval annotation \"api-approved.kubernetes.io\"";
    let missing =
        format!("{FIELD}: Required value: {needs}, see https://github.com/kubernetes/enhancements/pull/1111");
    let invalid = format!(
        "{FIELD}: Invalid value: \"yes\": {needs} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
    );
    expect("missing", &create(&of(None)), &[&missing]);
    expect("invalid", &create(&of(Some("yes"))), &[&invalid]);
    expect("bypassed", &create(&of(Some("unapproved, a trial"))), &[]);
    expect("approved", &create(&of(Some("https://x/1"))), &[]);
    // What was let through stays.
    expect("as before", &update(&of(None), &of(None)), &[]);
    expect("worse", &update(&of(None), &of(Some("https://x/1"))), &[&missing]);
}

#[test]
fn updates_and_status() {
    let old = tabs();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        new
    };
    let preserving = changed(&|new| new["spec"]["preserveUnknownFields"] = true.into());
    let wanted = "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    expect("preserving", &update(&preserving, &old), &[wanted]);
    expect("still preserving", &update(&preserving, &preserving), &[]);
    let forgotten = changed(&|new| new["status"]["storedVersions"] = json!([]));
    let wanted = "status.storedVersions: Invalid value: []: must have at least one stored version";
    expect("forgotten in the status alone", &status(&forgotten), &[]);
    expect("forgotten", &update(&forgotten, &old), &[wanted]);
    let lost = changed(&|new| new["status"]["storedVersions"] = json!(["v1", "v0"]));
    let wanted = "status.storedVersions[1]: Invalid value: \"v0\": missing from spec.versions; v0 was previously a storage version...";
    expect("lost", &update(&lost, &old), &[wanted]);
    let other = changed(&|new| new["status"]["acceptedNames"] = json!({"plural": "Tabs"}));
    expect(
        "accepted",
        &status(&other),
        &["status.acceptedNames.plural: Invalid value: \"Tabs\": a DNS-1035 label must..."],
    );
}
