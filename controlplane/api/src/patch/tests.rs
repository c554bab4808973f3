//! Patches as the documentation describes them, and laws of merging.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kind::Registry;

fn deployments() -> BodyOf {
    Registry::builtin().by_resource("apps", "v1", "deployments").expect("served").into()
}

fn pod_spec() -> &'static schema::Type {
    schema::find("io.k8s.api.core.v1.PodSpec").expect("PodSpec")
}

fn merge(original: Value, patch: Value) -> Result<Value, StrategicError> {
    strategic_merge(original, patch, pod_spec())
}

#[test]
fn strategic_merge_as_documented() {
    let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
    let cases = [
        // Merged by key; the patch's items keep their place.
        (
            two.clone(),
            json!({"containers": [{"name": "b", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]}),
        ),
        // New items join.
        (
            two.clone(),
            json!({"containers": [{"name": "c", "image": "3"}]}),
            json!({"containers": [{"name": "c", "image": "3"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        ),
        (
            two.clone(),
            json!({"containers": [{"$patch": "delete", "name": "a"}]}),
            json!({"containers": [{"name": "b", "image": "2"}]}),
        ),
        (
            two.clone(),
            json!({"containers": [{"name": "z", "image": "9"}, {"$patch": "replace"}]}),
            json!({"containers": [{"name": "z", "image": "9"}]}),
        ),
        // Order is the patch's.
        (
            two.clone(),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}]}),
        ),
        (
            two.clone(),
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b", "image": "3"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]}),
        ),
        // An atomic list is replaced.
        (
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        // Maps merge, null deletes.
        (
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"b": "2", "c": "3"}}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "replace", "c": "3"}}),
            json!({"nodeSelector": {"c": "3"}}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "delete"}}),
            json!({"nodeSelector": {}}),
        ),
        // A volume changes its kind.
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        ),
        // Nothing to merge with: directives and nulls do not survive.
        (
            json!({}),
            json!({"containers": [{"name": "a", "image": null}], "$retainKeys": ["containers"]}),
            json!({"containers": [{"name": "a"}]}),
        ),
    ];
    for (original, patch, expect) in cases {
        assert_eq!(merge(original.clone(), patch.clone()), Ok(expect), "{original} + {patch}");
    }
}

#[test]
fn scalar_lists_are_sets() {
    let meta = schema::object_meta();
    let original = json!({"finalizers": ["a", "b"]});
    let cases = [
        (json!({"finalizers": ["c"]}), json!({"finalizers": ["c", "a", "b"]})),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!({"finalizers": ["b"]})),
        (
            json!({"$setElementOrder/finalizers": ["c", "b"], "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}),
            json!({"finalizers": ["c", "b"]}),
        ),
    ];
    for (patch, expect) in cases {
        let merged = strategic_merge(original.clone(), patch.clone(), meta).expect("merges");
        assert_eq!(merged, expect, "{patch}");
    }
}

#[test]
fn strategic_errors() {
    let original = json!({"containers": [{"name": "a"}], "volumes": [{"name": "v"}]});
    let cases = [
        (
            json!({"containers": [{"image": "x"}]}),
            StrategicError::NoMergeKey { item: "map[image:x]".into(), key: "name".into() },
        ),
        (json!({"containers": [{"$patch": "delete"}]}), StrategicError::DeleteWithoutKey),
        (json!({"$patch": "explode"}), StrategicError::Directive("explode".into())),
        (json!({"$retainKeys": ["a"], "b": 1}), StrategicError::RetainKeys),
        (json!({"$deleteFromPrimitiveList/x": 1}), StrategicError::PrimitiveList),
        (
            json!({"$setElementOrder/containers": [], "containers": [{"name": "a"}]}),
            StrategicError::ElementOrder,
        ),
    ];
    for (patch, expect) in cases {
        assert_eq!(merge(original.clone(), patch.clone()), Err(expect), "{patch}");
    }
}

#[test]
fn every_type_through_one_door() {
    let current = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}}}});
    let run = |patch_type, patch: Value, validation| {
        apply(patch_type, &current, patch.to_string().as_bytes(), deployments(), validation)
    };
    let warn = FieldValidation::Warn;
    let json_patch =
        run(PatchType::Json, json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]), warn)
            .expect("applies");
    assert_eq!(json_patch.object["spec"]["replicas"], 3);
    let merged = run(PatchType::Merge, json!({"spec": {"replicas": null, "x": 1}}), warn).expect("applies");
    assert_eq!(
        (merged.object["spec"].get("replicas"), merged.warnings),
        (None, vec!["unknown field \"spec.x\"".to_owned()])
    );
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}}});
    let set_image = run(PatchType::StrategicMerge, image, warn).expect("applies");
    assert_eq!(set_image.object["spec"]["template"]["spec"]["containers"][0]["image"], "nginx:2");

    let cases = [
        (
            PatchType::Json,
            json!([{"op": "test", "path": "/spec/replicas", "value": 9}]),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (
            PatchType::Json,
            json!([{"op": "remove", "path": "/spec/nope"}]),
            422,
            "the server rejected our request due to an error in our request",
        ),
        (PatchType::Merge, json!({"spec": {"x": 1}}), 422, "strict decoding error: unknown field \"spec.x\""),
        (
            PatchType::StrategicMerge,
            json!({"spec": {"replicas": "x"}}),
            422,
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
    ];
    for (patch_type, patch, code, message) in cases {
        let status = run(patch_type, patch, FieldValidation::Strict).unwrap_err();
        assert_eq!(status.code, code);
        assert!(status.message.ends_with(message), "{}", status.message);
    }
    let refused = run(PatchType::Merge, json!({"spec": {"x": 1}}), FieldValidation::Strict).unwrap_err();
    let whole = r#" "" is invalid: patch: Invalid value: "{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":"#;
    assert!(refused.message.starts_with(whole), "what came out is shown: {}", refused.message);
    assert_eq!(apply(PatchType::Json, &current, b"{", deployments(), warn).unwrap_err().code, 400);
}

#[test]
fn what_a_patch_says_twice_is_told_of() {
    let current =
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": {}});
    let check = |patch_type, patch: &str, expect: &[&str]| {
        let run = |validation| apply(patch_type, &current, patch.as_bytes(), deployments(), validation);
        assert_eq!(run(FieldValidation::Warn).expect("applies").warnings, expect, "{patch}");
        assert!(run(FieldValidation::Ignore).expect("applies").warnings.is_empty());
        let refused = run(FieldValidation::Strict).unwrap_err();
        let wanted = format!("strict decoding error: {}", expect.join(", "));
        assert_eq!((refused.code, refused.message.ends_with(&wanted)), (422, true), "{}", refused.message);
    };
    let twice = r#"{"spec":{"paused":false,"paused":true},"x":1}"#;
    let expect = [r#"duplicate field "spec.paused""#, r#"unknown field "x""#];
    check(PatchType::Merge, twice, &expect);
    check(PatchType::StrategicMerge, twice, &expect);
    check(
        PatchType::Json,
        r#"[{"op":"add","path":"/spec/paused","value":false,"value":true,"why":1},{"op":"add","path":"/x","value":1}]"#,
        &[
            r#"json patch duplicate field "[0].value""#,
            r#"json patch unknown field "[0].why""#,
            r#"unknown field "x""#,
        ],
    );
}

#[test]
fn a_patch_makes_no_other_kind_of_it() {
    let current =
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": {}});
    let run = |patch_type, patch: &str| {
        apply(patch_type, &current, patch.as_bytes(), deployments(), FieldValidation::Strict)
    };
    let refused = [
        (r#"{"kind":"Foo"}"#, r#"no kind "Foo" is registered for version "apps/v1" in scheme"#),
        (
            r#"{"apiVersion":"apps/v0"}"#,
            r#"no kind "Deployment" is registered for version "apps/v0" in scheme"#,
        ),
    ];
    for (patch, why) in refused {
        let status = run(PatchType::Merge, patch).unwrap_err();
        assert!((status.code, status.message.ends_with(why)) == (422, true), "{}", status.message);
    }
    let gone = [
        (PatchType::Merge, r#"{"kind":null,"apiVersion":null}"#),
        (PatchType::Json, r#"[{"op":"remove","path":"/kind"}]"#),
        (PatchType::StrategicMerge, r#"{"kind":"Foo","apiVersion":"apps/v0"}"#),
    ];
    for (patch_type, patch) in gone {
        let object = run(patch_type, patch).expect("applies").object;
        assert_eq!(
            (&object["kind"], &object["apiVersion"]),
            (&current["kind"], &current["apiVersion"]),
            "{patch}"
        );
    }
}

#[test]
fn operations_as_clients_know_them() {
    let current = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "finalizers": ["a/b", "c/d"]}, "spec": {}});
    let run = |patch: &str| {
        apply(PatchType::Json, &current, patch.as_bytes(), deployments(), FieldValidation::Ignore)
    };
    const REJECTED: (u16, &str) = (422, "the server rejected our request due to an error in our request");
    let refused = [
        (r#"{"op":"add"}"#, (400, "json: cannot unmarshal object into Go value of type jsonpatch.Patch")),
        ("[1]", (400, "json: cannot unmarshal number into Go value of type jsonpatch.Operation")),
        (r#"[{"op":"nonsense","path":"/spec/paused","value":true}]"#, REJECTED),
        (r#"[{"path":"/spec/paused","value":true}]"#, REJECTED),
        (r#"[{"op":"add","value":true}]"#, REJECTED),
        (r#"[{"op":1,"path":"/spec"}]"#, REJECTED),
        (r#"[{"op":"add","path":"","value":{}}]"#, REJECTED),
        (r#"[{"op":"add","path":"spec","value":{}}]"#, REJECTED),
        (r#"[{"op":"copy","path":"/spec/paused"}]"#, REJECTED),
        (r#"[{"op":"remove","path":"/metadata/finalizers/-3"}]"#, REJECTED),
        (r#"[{"op":"replace","path":"/spec/a/b","value":1}]"#, REJECTED),
        (r#"[{"op":"test","path":"/spec/a/b","value":null}]"#, REJECTED),
        (r#"[{"op":"test","path":"/metadata/name","value":null}]"#, REJECTED),
        ("[null]", REJECTED),
    ];
    for (patch, (code, message)) in refused {
        let status = run(patch).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message), "{patch}");
    }
    let made = [
        ("null", "/metadata/name", json!("web")),
        (r#"[{"op":"replace","path":"/spec/paused","value":true}]"#, "/spec/paused", json!(true)),
        (
            r#"[{"op":"test","path":"/spec/paused","value":null},{"op":"test","path":"/spec/replicas"}]"#,
            "/spec/paused",
            json!(null),
        ),
        (
            r#"[{"op":"add","path":"/metadata/finalizers/-1","value":"e/f"}]"#,
            "/metadata/finalizers",
            json!(["a/b", "c/d", "e/f"]),
        ),
        (r#"[{"op":"remove","path":"/metadata/finalizers/-1"}]"#, "/metadata/finalizers", json!(["a/b"])),
        (r#"[{"op":"replace","path":"/metadata/finalizers"}]"#, "/metadata/finalizers", json!(null)),
    ];
    for (patch, place, expect) in made {
        let object = run(patch).expect(patch).object;
        assert_eq!(object.pointer(place).cloned().unwrap_or_default(), expect, "{patch}");
    }
}

#[test]
fn a_json_patch_neither_doubles_without_end_nor_digs_without_end() {
    let current = json!({"metadata": {"annotations": {"a": "x".repeat(1000)}}});
    let copies: Vec<Value> = (0..40)
        .map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/copy{n}")}))
        .collect();
    let mut deep = vec![json!({"op": "add", "path": "/metadata/x", "value": {}})];
    for n in 1..400 {
        deep.push(json!({"op": "add", "path": format!("/metadata/x{}", "/x".repeat(n)), "value": {}}));
    }
    for patch in [copies, deep] {
        let bytes = json!(patch).to_string().into_bytes();
        let status =
            apply(PatchType::Json, &current, &bytes, deployments(), FieldValidation::Ignore).unwrap_err();
        assert_eq!(status.code, 413, "{}", status.message);
    }
}

#[test]
fn what_a_patch_digs_can_be_read_again_in_a_list() {
    let revision = schema::find("io.k8s.api.apps.v1.ControllerRevision").unwrap();
    let wanted = BodyOf { schema: "io.k8s.api.apps.v1.ControllerRevision", ..deployments() };
    assert!(revision.field("data").is_some());
    let mut current = json!({"kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": "r"}, "data": {}, "revision": 1});
    let mut path = "/data".to_owned();
    for _ in 0..200 {
        path.push_str("/x");
        let patch = json!([{"op": "add", "path": path, "value": {}}]).to_string();
        match apply(PatchType::Json, &current, patch.as_bytes(), wanted, FieldValidation::Ignore) {
            Ok(body) => current = body.object,
            Err(status) => {
                assert_eq!(status.code, 413, "{}", status.message);
                // A list of conversions is the deepest that an object is in.
                let list = json!({"response": {"convertedObjects": [current]}}).to_string();
                assert!(serde_json::from_str::<Value>(&list).is_ok(), "{path}");
                return;
            }
        }
    }
    panic!("nothing refused it");
}

fn containers() -> impl Strategy<Value = Value> {
    let item = ("[a-e]", "[x-z]").prop_map(|(name, image)| json!({"name": name, "image": image}));
    proptest::collection::vec(item, 0..5).prop_map(|mut items: Vec<Value>| {
        let mut seen = Vec::new();
        items.retain(|item| {
            let name = item["name"].clone();
            let fresh = !seen.contains(&name);
            seen.push(name);
            fresh
        });
        json!({"containers": items})
    })
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(original in containers(), patch in containers()) {
        let once = merge(original, patch.clone()).expect("merges");
        prop_assert_eq!(merge(once.clone(), patch.clone()).expect("merges"), once.clone());
        for item in patch["containers"].as_array().into_iter().flatten() {
            prop_assert!(once["containers"].as_array().is_some_and(|all| all.contains(item)));
        }
    }

    #[test]
    fn a_full_order_is_obeyed(original in containers()) {
        let mut names: Vec<Value> = original["containers"].as_array().into_iter().flatten().map(|item| json!({"name": item["name"]})).collect();
        names.reverse();
        let merged = merge(original, json!({"$setElementOrder/containers": names.clone()})).expect("merges");
        let got: Vec<Value> = merged["containers"].as_array().into_iter().flatten().map(|item| json!({"name": item["name"]})).collect();
        prop_assert_eq!(got, names);
    }
}
