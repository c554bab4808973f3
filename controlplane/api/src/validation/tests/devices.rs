//! Claims for devices, classes, slices.

use serde_json::{Value, json};

use super::{created, expect, updated, with};

const GROUP: &str = "resource.k8s.io";

fn claim(devices: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": devices}})
}

fn exactly(changes: &[(&str, Value)]) -> Value {
    let base = json!({"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]});
    claim(with(&base, changes))
}

#[test]
fn claims() {
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("fine", exactly(&[]), &[]),
        (
            "neither",
            claim(json!({"requests": [{"name": "r"}]})),
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            ],
        ),
        (
            "both",
            exactly(&[("/requests/0/firstAvailable", json!([{"name": "a", "deviceClassName": "b"}]))]),
            &[
                "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            ],
        ),
        (
            "of nothing",
            exactly(&[
                ("/requests/0/exactly/deviceClassName", json!("")),
                ("/requests/0/exactly/count", json!(-1)),
            ]),
            &[
                "spec.devices.requests[0].exactly.deviceClassName: Required value",
                "spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero",
            ],
        ),
        (
            "all of some",
            exactly(&[
                ("/requests/0/exactly/allocationMode", json!("All")),
                ("/requests/0/exactly/count", json!(2)),
            ]),
            &[
                "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            ],
        ),
        (
            "selectors",
            exactly(&[(
                "/requests/0/exactly/selectors",
                json!([{}, {"cel": {"expression": "device.driver =="}}, {"cel": {"expression": "device.driver == 'a'"}}]),
            )]),
            &[
                "spec.devices.requests[0].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[0].exactly.selectors[1].cel.expression: Invalid value: \"device.driver ==\": compilation failed: ERROR...",
            ],
        ),
        (
            "twice",
            exactly(&[("/requests/1", json!({"name": "r", "exactly": {"deviceClassName": "gpu"}}))]),
            &["spec.devices.requests[1]: Duplicate value: \"r\""],
        ),
        (
            "constraints",
            exactly(&[(
                "/constraints",
                json!([{"requests": ["r", "s"], "matchAttribute": "model"}, {"requests": ["r/x/y"]}]),
            )]),
            &[
                "spec.devices.constraints[0].requests[1]: Invalid value: \"s\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"model\": a fully qualified name must be a domain and a name separated by a slash",
                "spec.devices.constraints[1].requests[0]: Invalid value: \"r/x/y\": must be the name of a request...",
                "spec.devices.constraints[1]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required...",
            ],
        ),
        (
            "configurations",
            exactly(&[("/config", json!([{}, {"opaque": {"driver": "d", "parameters": {"a": 1}}}]))]),
            &["spec.devices.config[0].opaque: Required value"],
        ),
    ];
    for (what, object, wanted) in cases {
        expect(what, &created(GROUP, "ResourceClaim", object), wanted);
    }
    let (old, new) = (exactly(&[]), exactly(&[("/requests/0/exactly/deviceClassName", json!("other"))]));
    expect("update", &updated(GROUP, "ResourceClaim", "", new, old), &["spec: Invalid value: {..."]);
    let template = json!({"metadata": {"name": "t", "namespace": "default"}, "spec": {"metadata": {"labels": {"a b": "c"}},
        "spec": {"devices": {"requests": [{"name": "R", "exactly": {"deviceClassName": "gpu"}}]}}}});
    let wanted = [
        "spec.metadata.labels: Invalid value: \"a b\": name part must consist of...",
        "spec.spec.devices.requests[0].name: Invalid value: \"R\": a lowercase RFC 1123 label...",
    ];
    expect("template", &created(GROUP, "ResourceClaimTemplate", template), &wanted);
}

#[test]
fn allocations() {
    let old = exactly(&[]);
    let result =
        json!({"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}});
    let status = |status: Value| with(&old, &[("/status", status)]);
    let consumer = json!({"resource": "pods", "name": "p", "uid": "u"});
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("fine", json!({"allocation": result, "reservedFor": [consumer]}), &[]),
        (
            "reserved before",
            json!({"reservedFor": [consumer]}),
            &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            "twice, and for nobody",
            json!({"allocation": result, "reservedFor": [consumer, consumer, {}]}),
            &[
                "status.reservedFor[2].resource: Required value",
                "status.reservedFor[2].name: Required value",
                "status.reservedFor[2].uid: Required value",
                "status.reservedFor[1]: Duplicate value: \"u\"",
            ],
        ),
        (
            "of nothing",
            json!({"allocation": {"devices": {"results": [{"request": "q", "driver": "d", "pool": "", "device": "x"}]}}}),
            &[
                "status.allocation.devices.results[0].request: Invalid value: \"q\": must be the name of a request...",
                "status.allocation.devices.results[0].pool: Required value",
            ],
        ),
    ];
    for (what, new, wanted) in cases {
        expect(what, &updated(GROUP, "ResourceClaim", "status", status(new), old.clone()), wanted);
    }
    let allocated = status(json!({"allocation": result}));
    let other = with(&allocated, &[("/status/allocation/devices/results/0/device", json!("y"))]);
    let wanted = ["status.allocation: Invalid value: {..."];
    expect("fixed", &updated(GROUP, "ResourceClaim", "status", other, allocated), &wanted);
}

#[test]
fn classes() {
    let class = |spec: Value| json!({"metadata": {"name": "c"}, "spec": spec});
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"extendedResourceName": "example.com/gpu"}), &[]),
        (
            json!({"extendedResourceName": "cpu"}),
            &["spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource name"],
        ),
        (
            json!({"config": [{"opaque": {"driver": "d", "parameters": null}}]}),
            &["spec.config[0].opaque.parameters: Required value"],
        ),
        (
            json!({"selectors": vec![json!({"cel": {"expression": "true"}}); 33]}),
            &["spec.selectors: Too many: 33: must have at most 32 items"],
        ),
    ];
    for (spec, wanted) in cases {
        expect(&spec.to_string(), &created(GROUP, "DeviceClass", class(spec.clone())), wanted);
    }
}

#[test]
fn slices() {
    let slice = |changes: &[(&str, Value)]| {
        let spec = json!({"driver": "d", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "nodeName": "n", "devices": [{"name": "x"}]});
        with(&json!({"metadata": {"name": "s"}, "spec": spec}), changes)
    };
    const PLACES: &str =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    type Change = Vec<(&'static str, Value)>;
    let cases: Vec<(&str, Change, Vec<String>)> = vec![
        ("fine", vec![], vec![]),
        (
            "nowhere",
            vec![("/spec/nodeName", Value::Null), ("/spec/allNodes", json!(false))],
            vec![
                "spec.allNodes: Invalid value: false: must be either unset or set to true".into(),
                format!("spec: Required value: {PLACES}"),
            ],
        ),
        (
            "everywhere and here",
            vec![("/spec/allNodes", json!(true))],
            vec![format!(
                "spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {PLACES}, but multiple fields are set"
            )],
        ),
        (
            "pools",
            vec![("/spec/pool", json!({"name": "a//b", "generation": -1, "resourceSliceCount": 0}))],
            vec![
                "spec.pool.name: Invalid value: \"\": a lowercase RFC 1123 subdomain...".into(),
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero".into(),
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero".into(),
            ],
        ),
        (
            "attributes",
            vec![("/spec/devices/0/attributes", json!({"a.b/c": {"string": "x"}, "1": {"int": 1, "bool": true}, "e": {}}))],
            vec![
                "spec.devices[0].attributes[1]: Invalid value: \"1\": a valid C identifier must start with...".into(),
                "spec.devices[0].attributes[1]: Invalid value: {\"...".into(),
                "spec.devices[0].attributes[e]: Invalid value: \"\": exactly one value must be specified".into(),
            ],
        ),
        (
            "devices with places of their own",
            vec![("/spec/devices/0/allNodes", json!(true)), ("/spec/devices/1", json!({"name": "x"}))],
            vec![
                "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set...".into(),
                "spec.devices[1]: Duplicate value: \"x\"".into(),
            ],
        ),
    ];
    for (what, changes, wanted) in cases {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        expect(what, &created(GROUP, "ResourceSlice", slice(&changes)), &wanted);
    }
    let new = slice(&[("/spec/pool/name", json!("q")), ("/spec/driver", json!("e"))]);
    let wanted = [
        "spec.pool.name: Invalid value: \"q\": field is immutable",
        "spec.driver: Invalid value: \"e\": field is immutable",
    ];
    expect("update", &updated(GROUP, "ResourceSlice", "", new, slice(&[])), &wanted);
}
