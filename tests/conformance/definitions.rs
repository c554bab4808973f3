//! Custom resources: definitions that come and go, their status, discovery, defaults, and unknown fields.

use serde_json::{Value, json};

use super::Behaviour;
use super::cluster::Cluster;

pub(super) const ALL: &[Behaviour] = &[
    ("a definition is made, serves objects, and takes them with it", lives),
    ("definitions are listed by a label and deleted together", together),
    ("a definition's status is a part of its own", status),
    ("a definition's resources are in discovery, in one document and group by group", discovered),
    ("a watch tells of custom resources as of others", watched),
    ("defaults are given to requests and to what is stored already", defaulted),
    ("unknown fields of a custom resource without a schema are kept", unknown_without_schema),
    ("a custom resource that fits its schema is applied", valid),
    ("unknown fields of a custom resource with a schema are refused where that is asked", unknown),
    ("doubled fields are refused where unknown ones are kept", doubled),
    ("unknown metadata is refused, of an embedded object too", unknown_metadata),
];

pub(super) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition to be made: its group is the namespace's own.
pub(super) struct Definition<'a> {
    pub group: &'a str,
    pub plural: &'a str,
    pub kind: &'a str,
    /// Name and schema; the first one is stored.
    pub versions: &'a [(&'a str, Value)],
}

impl Definition<'_> {
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    pub(super) fn path(&self) -> String {
        format!("{DEFINITIONS}/{}", self.name())
    }

    /// Its collection of one version.
    pub(super) fn collection(&self, version: &str) -> String {
        format!("/apis/{}/{version}/{}", self.group, self.plural)
    }

    fn value(&self) -> Value {
        let versions: Vec<Value> = self
            .versions
            .iter()
            .enumerate()
            .map(|(at, (name, schema))| {
                json!({"name": name, "served": true, "storage": at == 0, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema}})
            })
            .collect();
        json!({"metadata": {"name": self.name(), "labels": {"of": self.group}},
            "spec": {"group": self.group, "scope": "Cluster", "names": {"plural": self.plural, "kind": self.kind}, "versions": versions}})
    }

    /// Makes it and waits until it serves.
    pub(super) fn define(&self, cluster: &Cluster) -> Value {
        cluster.create(DEFINITIONS, &self.value());
        cluster.until_shows("a definition that is established", &self.path(), |definition| {
            let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
        })
    }

    fn object(&self, name: &str, more: Value) -> Value {
        let mut object = json!({"apiVersion": format!("{}/{}", self.group, self.versions[0].0), "kind": self.kind,
            "metadata": {"name": name}});
        for (field, value) in more.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        object
    }

    fn apply(&self, cluster: &Cluster, name: &str, body: &str) -> harness::api::Answer {
        let path =
            format!("{}/{name}?fieldManager=m&fieldValidation=Strict", self.collection(self.versions[0].0));
        cluster.admin.send("PATCH", &path, "application/apply-patch+yaml", body.as_bytes())
    }
}

/// Anything goes.
pub(super) fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"}, "color": {"type": "string", "pattern": "^[a-z]+$"}}}}})
}

fn group(namespace: &str) -> String {
    format!("{namespace}.example.test")
}

fn lives(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    let definition = Definition { group: &group, plural: "bolts", kind: "Bolt", versions: &versions };
    let made = definition.define(cluster);
    assert_eq!(made["spec"]["names"]["singular"], "bolt");
    assert_eq!(made["spec"]["names"]["listKind"], "BoltList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let all = definition.collection("v1");
    cluster.create(&all, &definition.object("a", json!({})));
    assert_eq!(cluster.get(&all)["kind"], "BoltList");
    cluster.delete(&definition.path());
    cluster.until("its end", || cluster.is_gone(&definition.path()));
    cluster.until("no such path", || cluster.is_gone(&all));
}

fn together(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    for (plural, kind) in [("as", "A"), ("bs", "B"), ("cs", "C")] {
        Definition { group: &group, plural, kind, versions: &versions }.define(cluster);
    }
    let selected = format!("{DEFINITIONS}?labelSelector=of%3D{group}");
    assert_eq!(cluster.items(&selected).len(), 3);
    cluster.delete(&selected);
    cluster.until("the end of all", || cluster.items(&selected).is_empty());
}

fn status(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    let definition = Definition { group: &group, plural: "nuts", kind: "Nut", versions: &versions };
    definition.define(cluster);
    let at = format!("{}/status", definition.path());
    let told = |value: &Value, reason: &str| {
        let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|one| one["type"] == "Odd" && one["reason"] == reason)
    };
    let condition = json!({"type": "Odd", "status": "True", "reason": "Told", "message": "m"});
    cluster.until("an update of the status", || {
        let mut shown = cluster.get(&at);
        shown["status"]["conditions"].as_array_mut().expect("conditions").push(condition.clone());
        let answer = cluster.admin.put(&at, &shown);
        answer.code == 200 && told(&answer.json(), "Told")
    });
    let mut conditions = cluster.get(&at)["status"]["conditions"].clone();
    for one in conditions.as_array_mut().into_iter().flatten().filter(|one| one["type"] == "Odd") {
        one["reason"] = "Patched".into();
    }
    let patch = json!({"spec": {"scope": "Namespaced"}, "status": {"conditions": conditions}});
    let patched = cluster.merge(&at, &patch);
    assert!(told(&patched, "Patched"), "{patched}");
    assert_eq!(patched["spec"]["scope"], "Cluster", "the status' door leads to the status alone");
    cluster.delete(&definition.path());
}

fn discovered(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything()), ("v1beta1", anything())]);
    let definition = Definition { group: &group, plural: "pins", kind: "Pin", versions: &versions };
    definition.define(cluster);
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    for accept in [v2, v2beta1] {
        let client = cluster.admin.with("accept", accept);
        let groups = client.get("/apis").expect(200);
        let own = groups["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["metadata"]["name"] == group.as_str());
        let own = own.expect("the definition's group");
        let shown: Vec<&Value> = own["versions"].as_array().into_iter().flatten().collect();
        assert_eq!(shown.len(), 2);
        for version in shown {
            let resource = &version["resources"][0];
            assert_eq!(resource["resource"], "pins");
            assert_eq!(
                resource["responseKind"],
                json!({"group": group, "version": version["version"], "kind": "Pin"})
            );
            assert_eq!(
                (&resource["scope"], &resource["subresources"][0]["subresource"]),
                (&json!("Cluster"), &json!("status"))
            );
        }
    }
    let groups = cluster.get("/apis");
    let own = groups["groups"].as_array().into_iter().flatten().find(|one| one["name"] == group.as_str());
    assert_eq!(own.expect("the group")["preferredVersion"]["version"], "v1");
    assert_eq!(cluster.get(&format!("/apis/{group}"))["versions"].as_array().map(Vec::len), Some(2));
    let resources = cluster.get(&format!("/apis/{group}/v1"));
    assert_eq!(
        (&resources["resources"][0]["name"], &resources["resources"][0]["namespaced"]),
        (&json!("pins"), &json!(false))
    );
    // The definitions themselves too.
    let own = cluster.get("/apis/apiextensions.k8s.io/v1");
    assert!(
        own["resources"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["name"] == "customresourcedefinitions"))
    );
    cluster.delete(&definition.path());
}

fn watched(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    let definition = Definition { group: &group, plural: "cogs", kind: "Cog", versions: &versions };
    definition.define(cluster);
    let all = definition.collection("v1");
    let only =
        |name: &str| cluster.admin.watch(&format!("{all}?watch=true&fieldSelector=metadata.name%3D{name}"));
    let (mut first, mut second) = (only("one"), only("two"));
    cluster.create(&all, &definition.object("one", json!({})));
    cluster.create(&all, &definition.object("two", json!({})));
    cluster.merge(&format!("{all}/one"), &json!({"metadata": {"labels": {"a": "b"}}}));
    cluster.delete(&format!("{all}/one"));
    cluster.merge(&format!("{all}/two"), &json!({"spec": {"a": "b"}}));
    cluster.delete(&format!("{all}/two"));
    for (watch, name) in [(&mut first, "one"), (&mut second, "two")] {
        for kind in ["ADDED", "MODIFIED", "DELETED"] {
            assert_eq!(watch.next_named(), (kind.to_owned(), name.to_owned()));
        }
    }
    cluster.delete(&definition.path());
}

fn defaulted(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema())]);
    let definition = Definition { group: &group, plural: "rods", kind: "Rod", versions: &versions };
    definition.define(cluster);
    let all = definition.collection("v1");
    cluster.create(&all, &definition.object("before", json!({"spec": {"size": 1}})));
    let color = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color/default";
    let default = json!([{"op": "add", "path": color, "value": "red"}]);
    cluster.admin.patch(&definition.path(), "json", &default).expect(200);
    cluster.until_shows("the default of what was stored", &format!("{all}/before"), |object| {
        object["spec"]["color"] == "red"
    });
    assert_eq!(cluster.items(&all)[0]["spec"]["color"], "red", "in lists too");
    let made = cluster.create(&all, &definition.object("after", json!({"spec": {}})));
    assert_eq!(made["spec"]["color"], "red");
    let change = json!([{"op": "replace", "path": color, "value": "blue"}]);
    cluster.admin.patch(&definition.path(), "json", &change).expect(200);
    cluster.until_shows("the other default", &format!("{all}/before"), |object| {
        object["spec"]["color"] == "blue"
    });
    assert_eq!(cluster.get(&format!("{all}/after"))["spec"]["color"], "red", "what was given once stays");
    cluster.delete(&definition.path());
}

fn unknown_without_schema(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    let definition = Definition { group: &group, plural: "ribs", kind: "Rib", versions: &versions };
    definition.define(cluster);
    let body = definition.object("a", json!({"unknown": 1, "spec": {"deep": {"unknown": 1}}}));
    let made = definition.apply(cluster, "a", &body.to_string());
    assert!(matches!(made.code, 200 | 201), "{}", made.text());
    assert_eq!(made.json()["spec"]["deep"]["unknown"], 1);
    cluster.delete(&definition.path());
}

fn valid(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema())]);
    let definition = Definition { group: &group, plural: "keys", kind: "Key", versions: &versions };
    definition.define(cluster);
    let body = definition.object("a", json!({"spec": {"size": 3, "color": "red"}}));
    let made = definition.apply(cluster, "a", &body.to_string());
    assert_eq!((made.code, &made.json()["spec"]["size"]), (201, &json!(3)));
    let strict = format!("{}?fieldValidation=Strict", definition.collection("v1"));
    cluster.create(&strict, &definition.object("b", json!({"spec": {"color": "red"}})));
    cluster.delete(&definition.path());
}

fn unknown(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", schema())]);
    let definition = Definition { group: &group, plural: "caps", kind: "Cap", versions: &versions };
    definition.define(cluster);
    let body = definition.object("a", json!({"extra": 1, "spec": {"size": 3}}));
    let refused = definition.apply(cluster, "a", &body.to_string());
    assert_ne!(refused.code, 201);
    assert!(refused.text().contains(".extra: field not declared in schema"), "{}", refused.text());
    let strict = format!("{}?fieldValidation=Strict", definition.collection("v1"));
    let refused = cluster.admin.post(&strict, &body);
    assert_eq!(refused.code, 400);
    assert!(
        refused.text().contains("strict decoding error: unknown field \\\"extra\\\""),
        "{}",
        refused.text()
    );
    let pruned = cluster.create(&definition.collection("v1"), &body);
    assert!(pruned["extra"].is_null());
    cluster.delete(&definition.path());
}

fn doubled(cluster: &Cluster, namespace: &str) {
    let (group, versions) = (group(namespace), [("v1", anything())]);
    let definition = Definition { group: &group, plural: "lids", kind: "Lid", versions: &versions };
    definition.define(cluster);
    let yaml = format!(
        "apiVersion: {group}/v1\nkind: Lid\nmetadata:\n  name: a\nspec:\n  unknown: 1\n  twice: a\n  twice: b\n"
    );
    let refused = definition.apply(cluster, "a", &yaml);
    assert!(refused.code >= 400, "{}", refused.text());
    assert!(refused.text().contains("line 8: key \\\"twice\\\" already set in map"), "{}", refused.text());
    let json = format!(
        r#"{{"apiVersion":"{group}/v1","kind":"Lid","metadata":{{"name":"a"}},"spec":{{"unknown":1,"twice":1,"twice":2}}}}"#
    );
    let strict = format!("{}?fieldValidation=Strict", definition.collection("v1"));
    let refused = cluster.admin.send("POST", &strict, "application/json", json.as_bytes());
    assert_eq!(refused.code, 400);
    assert!(refused.text().contains("duplicate field \\\"spec.twice\\\""), "{}", refused.text());
    cluster.delete(&definition.path());
}

fn unknown_metadata(cluster: &Cluster, namespace: &str) {
    let embedded = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {"template": {"type": "object",
            "x-kubernetes-embedded-resource": true, "properties": {
                "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                "spec": {"type": "object"}}}}}}});
    let (group, versions) = (group(namespace), [("v1", embedded)]);
    let definition = Definition { group: &group, plural: "hubs", kind: "Hub", versions: &versions };
    definition.define(cluster);
    let mut body = definition.object(
        "a",
        json!({"spec": {"template": {"apiVersion": "foo/v1", "kind": "Sub",
            "metadata": {"name": "sub", "unknownBelow": 1}}}}),
    );
    body["metadata"]["unknownAbove"] = 1.into();
    let refused = definition.apply(cluster, "a", &body.to_string());
    assert!(refused.code >= 400);
    // Which of them is told first is not.
    let told = [".metadata.unknownAbove", ".spec.template.metadata.unknownBelow"]
        .iter()
        .any(|field| refused.text().contains(&format!("{field}: field not declared in schema")));
    assert!(told, "{}", refused.text());
    let strict = format!("{}?fieldValidation=Strict", definition.collection("v1"));
    let refused = cluster.admin.post(&strict, &body);
    assert_eq!(refused.code, 400);
    for field in ["metadata.unknownAbove", "spec.template.metadata.unknownBelow"] {
        assert!(
            refused.text().contains(&format!("unknown field \\\"{field}\\\"")),
            "{field}: {}",
            refused.text()
        );
    }
    cluster.delete(&definition.path());
}
