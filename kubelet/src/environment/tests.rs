//! Tables of environments.

use client::Resource;
use serde_json::json;

use super::*;

fn object(resource: &Resource, name: &str, data: Value) -> Arc<Object> {
    Arc::new(Object::of(resource, json!({"metadata": {"namespace": "shop", "name": name}, "data": data})))
}

fn sources() -> Sources {
    let missing = |kind: Kind| Err(ObjectError::NotFound { kind, name: "missing".into() });
    let settings = object(&Resource::CONFIG_MAPS, "settings", json!({"COLOUR": "red", "size": "$(COLOUR)"}));
    let keys = object(&Resource::SECRETS, "keys", json!({"PASSWORD": "aGVsbG8=", "binary": "/w=="}));
    let odd = object(&Resource::CONFIG_MAPS, "odd", json!({"a=b": "1", "ü": "2", "1ok.x": "3"}));
    let service = Object::of(
        &Resource::SERVICES,
        json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 5432}]}}),
    );
    Sources {
        objects: BTreeMap::from([
            ((Kind::ConfigMap, "settings".into()), Ok(settings)),
            ((Kind::ConfigMap, "odd".into()), Ok(odd)),
            ((Kind::ConfigMap, "missing".into()), missing(Kind::ConfigMap)),
            ((Kind::Secret, "keys".into()), Ok(keys)),
            ((Kind::Secret, "missing".into()), missing(Kind::Secret)),
            ((Kind::Secret, "broken".into()), Err(ObjectError::Failed("the server is away".into()))),
        ]),
        services: vec![Arc::new(service)],
    }
}

fn built(container: Value) -> Result<Built, String> {
    let pod = Pod::of(json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"},
        "spec": {"enableServiceLinks": true, "nodeName": "n1", "containers": [container]}}));
    let addresses = vec!["10.0.0.2".parse().unwrap()];
    build(&pod, &pod.main[0], &addresses, &NodeFacts::default(), &sources()).map_err(|error| error.0)
}

/// The variables that are not the Service's.
fn check(container: Value, expect: Result<&[&str], &str>) {
    let found = built(container.clone()).map(|built| {
        let own = built.variables.into_iter().filter(|(name, _)| !name.starts_with("DB_"));
        own.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    });
    match expect {
        Ok(expect) => assert_eq!(
            found.as_deref(),
            Ok(expect.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().as_slice()),
            "{container}"
        ),
        Err(expect) => assert_eq!(found, Err(expect.to_owned()), "{container}"),
    }
}

#[test]
fn plain_values_and_references() {
    check(
        json!({"env": [
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(DB_SERVICE_HOST)-$$(A)"},
            {"name": "C", "value": "$(LATER)"}, {"name": "LATER", "value": "x"},
            {"name": "A", "value": "2$(A)"}, {"name": "EMPTY"}]}),
        Ok(&["A=21", "B=1-10.0.0.9-$(A)", "C=$(LATER)", "LATER=x", "EMPTY="]),
    );
    check(
        json!({"env": [
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "resources": {"limits": {"cpu": "2"}}}),
        Ok(&["POD=web", "IP=10.0.0.2", "CPU=2"]),
    );
}

#[test]
fn whole_objects() {
    check(
        json!({"envFrom": [
                {"prefix": "P_", "configMapRef": {"name": "settings"}}, {"configMapRef": {"name": "settings"}},
                {"secretRef": {"name": "missing", "optional": true}}],
            "env": [{"name": "COLOUR", "value": "blue, not $(COLOUR)"}]}),
        Ok(&["P_COLOUR=red", "P_size=$(COLOUR)", "COLOUR=blue, not red", "size=$(COLOUR)"]),
    );
    check(
        json!({"envFrom": [{"secretRef": {"name": "keys"}}]}),
        Err("key binary in Secret shop/keys is not UTF-8: it cannot be a variable's value"),
    );
    check(
        json!({"envFrom": [{"configMapRef": {"name": "missing"}}]}),
        Err(r#"configmap "missing" not found"#),
    );
    check(
        json!({"envFrom": [{"secretRef": {"name": "broken", "optional": true}}]}),
        Err("the server is away"),
    );
    let built = built(json!({"envFrom": [{"configMapRef": {"name": "odd"}}]})).unwrap();
    assert_eq!(built.variables[0], ("1ok.x".to_owned(), "3".to_owned()));
    assert_eq!(
        built.skipped,
        [
            "Keys [a=b, ü] from the EnvFrom configMap shop/odd were skipped since they are considered invalid environment variable names."
        ]
    );
}

#[test]
fn single_keys() {
    let from = |source: &str, name: &str, key: &str, optional: bool| json!({"env": [{"name": "V", "valueFrom": {source: {"name": name, "key": key, "optional": optional}}}]});
    check(from("configMapKeyRef", "settings", "COLOUR", false), Ok(&["V=red"]));
    check(from("secretKeyRef", "keys", "PASSWORD", false), Ok(&["V=hello"]));
    check(
        from("configMapKeyRef", "settings", "no", false),
        Err("couldn't find key no in ConfigMap shop/settings"),
    );
    check(from("secretKeyRef", "keys", "no", false), Err("couldn't find key no in Secret shop/keys"));
    check(from("configMapKeyRef", "missing", "k", false), Err(r#"configmap "missing" not found"#));
    check(from("secretKeyRef", "missing", "k", false), Err(r#"secret "missing" not found"#));
    check(from("configMapKeyRef", "settings", "no", true), Ok(&[]));
    check(from("secretKeyRef", "missing", "k", true), Ok(&[]));
}

#[test]
fn references_are_found() {
    let pod = Pod::of(json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c",
        "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
        "env": [{"name": "V", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}, {"name": "W", "value": "w"}]}]}}));
    let found = references(&pod.main[0]);
    let expect = [(Kind::ConfigMap, "a"), (Kind::Secret, "b"), (Kind::Secret, "c")];
    assert_eq!(found, expect.map(|(kind, name)| (kind, name.to_owned())).into());
}
