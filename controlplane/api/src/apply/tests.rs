//! Tables: what is there, who applies what, what comes out and who owns it.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-11-28T12:00:00Z";
const LATER: &str = "2026-11-28T13:00:00Z";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn kind() -> Of<'static> {
    Of::Type(schema::find(DEPLOYMENT).expect("a type"))
}

fn writer<'a>(manager: &'a str, now: &'a str) -> Writer<'a> {
    Writer { manager, api_version: "apps/v1", subresource: "", now, has_status: true }
}

fn config(mut value: Value) -> Value {
    value["apiVersion"] = "apps/v1".into();
    value["kind"] = "Deployment".into();
    value["metadata"]["name"] = "web".into();
    configuration(value, kind(), "t/web; apps/v1, Kind=Deployment").expect("a configuration")
}

fn applied(live: Option<&Value>, manager: &str, wanted: Value, force: bool) -> Result<Value, Status> {
    apply(live, &config(wanted), kind(), writer(manager, NOW), force, &Alike)
}

/// A live object as it was made without any apply.
fn made(value: Value) -> Value {
    kind().canonical(config(value)).expect("canonical")
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("owners");
    entries
        .iter()
        .find(|entry| entry["manager"] == manager)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn containers(object: &Value) -> Value {
    object["spec"]["template"]["spec"]["containers"].clone()
}

fn with_containers(items: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": items}}}})
}

#[test]
fn the_first_apply_makes_it_and_owns_it() {
    let object = applied(
        None,
        "a",
        json!({"metadata": {"labels": {"x": "1"}}, "spec": {"replicas": 2, "template": {"spec": {
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
        "volumes": [{"name": "v", "emptyDir": {}}]}}}}),
        false,
    )
    .unwrap();
    assert_eq!(
        owned(&object, "a"),
        json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}},
            "f:volumes": {"k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}}}}}})
    );
    let entry = &object["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["operation"], &entry["time"], &entry["apiVersion"]),
        (&json!("Apply"), &json!(NOW), &json!("apps/v1"))
    );
}

#[test]
fn what_an_applier_no_longer_wants_goes_unless_somebody_else_owns_it() {
    // (first of a, then of b, then of a; containers and labels that are left)
    let check = |first: Value, other: Option<Value>, last: Value, expect: Value| {
        let mut object = applied(None, "a", first, false).unwrap();
        if let Some(other) = other {
            object = applied(Some(&object), "b", other, false).unwrap();
        }
        let object = applied(Some(&object), "a", last, false).unwrap();
        assert_eq!(json!({"c": containers(&object), "l": object["metadata"]["labels"]}), expect);
    };
    let label = |names: &[&str]| {
        let labels: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!("1"))).collect();
        json!({"metadata": {"labels": labels}})
    };
    check(label(&["x", "y"]), None, label(&["y"]), json!({"c": null, "l": {"y": "1"}}));
    check(
        label(&["x", "y"]),
        Some(label(&["x"])),
        label(&["y"]),
        json!({"c": null, "l": {"x": "1", "y": "1"}}),
    );
    check(label(&["x"]), None, json!({}), json!({"c": null, "l": null}));
    let both = with_containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
    let one = with_containers(json!([{"name": "b", "image": "1"}]));
    let plain = |name: &str| json!({"name": name, "image": "1", "resources": {}});
    check(both.clone(), None, one.clone(), json!({"c": [plain("b")], "l": null}));
    let share = with_containers(json!([{"name": "a", "workingDir": "/"}]));
    check(
        both,
        Some(share),
        one,
        json!({"c": [{"name": "a", "workingDir": "/", "resources": {}}, plain("b")], "l": null}),
    );
}

#[test]
fn items_come_in_the_order_of_the_configuration_among_those_of_others() {
    let check = |live: &[&str], wanted: &[&str], expect: &[&str]| {
        let items = |names: &[&str]| -> Value {
            with_containers(names.iter().map(|name| json!({"name": name})).collect())
        };
        let object = applied(Some(&made(items(live))), "a", items(wanted), false).unwrap();
        let names: Vec<Value> =
            containers(&object).as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, expect);
    };
    check(&["a", "b"], &["a", "b"], &["a", "b"]);
    check(&["a", "b"], &["c"], &["c", "a", "b"]);
    check(&["a", "b"], &["b", "a"], &["b", "a"]);
    check(&["a", "b", "c"], &["b"], &["a", "b", "c"]);
    check(&["a", "b"], &["b", "c"], &["a", "b", "c"]);
}

#[test]
fn another_ones_field_is_a_conflict_until_forced() {
    let object = applied(None, "a", json!({"spec": {"replicas": 1, "paused": true}}), false).unwrap();
    // The same value is shared.
    let shared = applied(Some(&object), "b", json!({"spec": {"replicas": 1}}), false).unwrap();
    assert_eq!(
        owned(&shared, "b"),
        owned(&applied(None, "b", json!({"spec": {"replicas": 1}}), false).unwrap(), "b")
    );
    let refused = applied(Some(&shared), "b", json!({"spec": {"replicas": 2}}), false).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (409, r#"Apply failed with 1 conflict: conflict with "a": .spec.replicas"#)
    );
    let causes = &refused.details.as_ref().unwrap().causes;
    assert_eq!(
        (causes[0].reason.as_str(), causes[0].field.as_str()),
        ("FieldManagerConflict", ".spec.replicas")
    );
    let two = json!({"spec": {"replicas": 2, "paused": false}});
    assert_eq!(
        applied(Some(&shared), "b", two, false).unwrap_err().message,
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas"
    );
    let forced = applied(Some(&shared), "b", json!({"spec": {"replicas": 2}}), true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(owned(&forced, "a"), json!({"f:spec": {"f:paused": {}}}));
}

#[test]
fn what_was_there_before_belongs_to_somebody() {
    let live = made(
        json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}}),
    );
    let refused =
        applied(Some(&live), "a", with_containers(json!([{"name": "c", "image": "j"}])), false).unwrap_err();
    assert_eq!(
        refused.message,
        format!(
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1 at {NOW}: .spec.template.spec.containers[name=\"c\"].image"
        )
    );
    let taken = applied(Some(&live), "a", json!({"spec": {"replicas": 1}}), false).unwrap();
    assert_eq!(owned(&taken, "a"), json!({"f:spec": {"f:replicas": {}}}));
    // kubectl may take what it applied from the client's side.
    let mut live = live;
    live["metadata"]["annotations"] = json!({LAST_APPLIED: r#"{"spec":{"replicas":1}}"#});
    let wanted = json!({"spec": {"replicas": 3}});
    assert!(applied(Some(&live), "other", wanted.clone(), false).is_err());
    let object = applied(Some(&live), "kubectl", wanted, false).unwrap();
    assert_eq!(object["spec"]["replicas"], 3);
    // kubectl gives what this manager has to its new one: defaults must not be among it.
    let annotation = format!("f:{LAST_APPLIED}");
    assert_eq!(
        owned(&object, CLIENT_SIDE),
        json!({"f:metadata": {"f:annotations": {annotation: {}}}}),
        "without the replicas, which were taken"
    );
    assert!(owned(&object, BEFORE_FIRST_APPLY)["f:spec"].get("f:template").is_some());
}

#[test]
fn a_configuration_that_changes_nothing_changes_nothing() {
    let wanted = json!({"metadata": {"labels": {"x": "1"}}, "spec": {"replicas": 2, "template": {"spec": {
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "1000m"}}}]}}}});
    let object = made(json!({"spec": {"replicas": 1}}));
    let object = applied(Some(&object), "a", wanted.clone(), true).unwrap();
    assert_eq!(containers(&object)[0]["resources"]["limits"]["cpu"], "1");
    let again = apply(Some(&object), &config(wanted), kind(), writer("a", LATER), false, &Alike).unwrap();
    assert_eq!(again, object);
}

#[test]
fn other_writers_own_what_they_change_once_somebody_applied() {
    let untouched = made(json!({"spec": {"replicas": 1}}));
    let mut changed = untouched.clone();
    changed["spec"]["replicas"] = 2.into();
    assert_eq!(
        track(&untouched, changed.clone(), kind(), writer("u", NOW), &Alike),
        changed,
        "never applied: not tracked"
    );
    let old = applied(None, "a", json!({"metadata": {"labels": {"x": "1"}}, "spec": {"replicas": 1}}), false)
        .unwrap();
    let mut new = old.clone();
    new["spec"]["replicas"] = 2.into();
    new["metadata"]["labels"] = Value::Null;
    new["metadata"].as_object_mut().unwrap().remove("managedFields");
    let tracked = track(&old, new, kind(), writer("u", LATER), &Alike);
    assert_eq!(owned(&tracked, "u"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&tracked, "a"), Value::Null, "all it had is another's or gone");
    let refused = applied(Some(&tracked), "a", json!({"spec": {"replicas": 1}}), false).unwrap_err();
    assert!(
        refused.message.ends_with(&format!("conflict with \"u\" using apps/v1 at {LATER}: .spec.replicas")),
        "{refused:?}"
    );
    let mut reset = tracked.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    assert!(
        track(&tracked, reset, kind(), writer("u", LATER), &Alike)["metadata"].get("managedFields").is_none()
    );
}

#[test]
fn many_writers_are_bounded() {
    let mut object = applied(None, "a", json!({"metadata": {"labels": {"x": "1"}}}), false).unwrap();
    for number in 0..15 {
        let mut new = object.clone();
        new["metadata"]["annotations"][format!("k{number}")] = "v".into();
        let time = format!("2026-11-28T12:00:{number:02}Z");
        object = track(&object, new, kind(), writer(&format!("u{number}"), &time), &Alike);
    }
    let names: Vec<&Value> =
        object["metadata"]["managedFields"].as_array().unwrap().iter().map(|e| &e["manager"]).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    assert!(names.contains(&&json!("ancient-changes")) && names.contains(&&json!("u14")), "{names:?}");
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let check = |value: Value, part: &str| {
        let refused = configuration(value, kind(), "t/web; apps/v1, Kind=Deployment").unwrap_err();
        assert_eq!(refused.code, 400);
        assert!(refused.message.contains(part), "{}", refused.message);
    };
    let start = "failed to create typed patch object (t/web; apps/v1, Kind=Deployment): ";
    check(json!({"spec": {"replikas": 1}}), &format!("{start}.spec.replikas: field not declared in schema"));
    check(json!({"spec": {"replicas": "1"}}), start);
    check(
        with_containers(json!([{"name": "c"}, {"name": "c"}])),
        ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
    );
    check(with_containers(json!([{"image": "c"}])), "omits key field \"name\"");
    check(json!({"metadata": {"managedFields": []}}), "metadata.managedFields must be nil");
}

/// `autoscaling/v1` and `autoscaling/v2`.
struct Autoscalers(&'static str);

fn autoscaler(version: &str) -> Of<'static> {
    let name = format!("io.k8s.api.autoscaling.{version}.HorizontalPodAutoscaler");
    Of::Type(schema::find(&name).expect("a type"))
}

fn converted(object: Value) -> Value {
    let Value::Object(fields) = object else { return object };
    Value::Object(match fields["apiVersion"].as_str() {
        Some("autoscaling/v1") => crate::kind::autoscaler_of_v1(fields),
        _ => crate::kind::v1_of_autoscaler(fields),
    })
}

impl Versions for Autoscalers {
    fn is_known(&self, _: &str) -> bool {
        true
    }

    fn shown(&self, api_version: &str, object: &Value) -> Option<(Value, Of<'_>)> {
        let version = api_version.strip_prefix("autoscaling/").filter(|version| *version != self.0)?;
        Some((converted(object.clone()), autoscaler(version)))
    }

    fn taken(&self, object: Value) -> Value {
        if object["apiVersion"] == format!("autoscaling/{}", self.0) { object } else { converted(object) }
    }
}

/// Applies a specification in a version; `live` and what comes of it are in v2, as stored.
fn autoscaled(
    live: Option<&Value>,
    manager: &str,
    version: &'static str,
    spec: Value,
    force: bool,
) -> Result<Value, Status> {
    let of = autoscaler(version);
    let what = "t/h";
    let mut config = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"}, "spec": spec});
    config["spec"]["scaleTargetRef"] = json!({"kind": "Deployment", "name": "d"});
    let config = configuration(config, of, what).expect("a configuration");
    let api_version = format!("autoscaling/{version}");
    let writer = Writer { manager, api_version: &api_version, subresource: "", now: NOW, has_status: true };
    let live = live.cloned().map(|live| if version == "v1" { converted(live) } else { live });
    let object = apply(live.as_ref(), &config, of, writer, force, &Autoscalers(version))?;
    Ok(if version == "v1" { converted(object) } else { object })
}

fn cpu(percent: i64) -> Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

#[test]
fn fields_are_owned_in_the_version_of_their_owner() {
    let v2 = |percent| json!({"minReplicas": 2, "maxReplicas": 5, "metrics": cpu(percent)});
    let first = autoscaled(None, "a", "v2", v2(80), false).expect("made");

    // Somebody else, in the older version: the same value is shared, another one is a conflict.
    let shared = json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 80});
    let shared = autoscaled(Some(&first), "b", "v1", shared, false).expect("shared");
    let entries = |object: &Value| -> Vec<(Value, Value)> {
        let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.into_iter().map(|entry| (entry["manager"].clone(), entry["apiVersion"].clone())).collect()
    };
    assert_eq!(
        entries(&shared),
        [(json!("a"), json!("autoscaling/v2")), (json!("b"), json!("autoscaling/v1"))]
    );
    assert_eq!(owned(&shared, "b")["f:spec"]["f:targetCPUUtilizationPercentage"], json!({}));
    let other = json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 50});
    let refused = autoscaled(Some(&first), "b", "v1", other.clone(), false).expect_err("a conflict");
    assert!(refused.message.contains("conflict with \"a\": .spec.metrics"), "{}", refused.message);
    let forced = autoscaled(Some(&first), "b", "v1", other, true).expect("forced");
    assert_eq!(forced["spec"]["metrics"], cpu(50));
    assert_eq!(owned(&forced, "a")["f:spec"].get("f:metrics"), None, "it is the other's now");

    // The same applier in the older version: no conflict with itself, one entry, what it no longer wants goes.
    let again = json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 60});
    let again = autoscaled(Some(&first), "a", "v1", again, false).expect("no conflict");
    assert_eq!(entries(&again), [(json!("a"), json!("autoscaling/v1"))]);
    assert_eq!((&again["spec"]["metrics"], again["spec"].get("minReplicas")), (&cpu(60), None));

    // What the other still wants, in its own version, stays.
    let less = autoscaled(Some(&shared), "a", "v2", json!({"minReplicas": 2, "maxReplicas": 5}), false);
    let less = less.expect("less");
    assert_eq!(less["spec"]["metrics"], cpu(80));
    let alone = autoscaled(Some(&first), "a", "v2", json!({"maxReplicas": 5}), false).expect("alone");
    assert_eq!(alone["spec"].get("metrics"), None);

    // A write that is no apply takes fields from their owners in every version.
    let live = converted(shared.clone());
    let mut new = live.clone();
    new["spec"]["targetCPUUtilizationPercentage"] = 10.into();
    let writer =
        Writer { manager: "u", api_version: "autoscaling/v1", subresource: "", now: LATER, has_status: true };
    let tracked = track(&live, new, autoscaler("v1"), writer, &Autoscalers("v1"));
    assert_eq!(owned(&tracked, "a")["f:spec"].get("f:metrics"), None);
    assert_eq!(owned(&tracked, "b")["f:spec"].get("f:targetCPUUtilizationPercentage"), None);
    assert_eq!(owned(&tracked, "u")["f:spec"], json!({"f:targetCPUUtilizationPercentage": {}}));
}

/// One version is left of a kind.
struct Left(&'static str);

impl Versions for Left {
    fn is_known(&self, api_version: &str) -> bool {
        api_version == self.0
    }

    fn shown(&self, _: &str, _: &Value) -> Option<(Value, Of<'_>)> {
        None
    }

    fn taken(&self, object: Value) -> Value {
        object
    }
}

#[test]
fn what_was_written_in_a_version_that_is_gone_is_nobodys() {
    let first = applied(None, "a", json!({"spec": {"replicas": 2, "paused": true}}), false).expect("made");
    let mut old = first.clone();
    old["metadata"]["managedFields"][0]["apiVersion"] = "apps/v1beta1".into();
    let left = Left("apps/v1");
    let apply = |live: &Value, manager, wanted: Value, versions: &dyn Versions| {
        apply(Some(live), &config(wanted), kind(), writer(manager, LATER), false, versions)
    };

    let other = json!({"spec": {"replicas": 3}});
    assert!(apply(&old, "b", other.clone(), &Alike).is_err(), "it is a conflict while there is the version");
    let taken = apply(&old, "b", other, &left).expect("nobody owns it");
    assert_eq!(taken["spec"]["replicas"], 3);
    assert_eq!((owned(&taken, "a"), owned(&taken, "before-first-apply")), (Value::Null, Value::Null));

    // The applier itself begins anew: what it does not say any more stays.
    let again = apply(&old, "a", json!({"spec": {"replicas": 2}}), &left).expect("applied");
    assert_eq!((&again["spec"]["paused"], owned(&again, "a").is_object()), (&json!(true), true));
    let own = apply(&first, "a", json!({"spec": {"replicas": 2}}), &left).expect("applied");
    assert!(own["spec"].get("paused").is_none());

    // A write that is no apply forgets them too.
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = 5.into();
    let tracked = track(&old, scaled, kind(), writer("kubectl", LATER), &left);
    assert_eq!((owned(&tracked, "a"), owned(&tracked, "kubectl").is_object()), (Value::Null, true));
}
