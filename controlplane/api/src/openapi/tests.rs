//! What kubectl looks for in the documents.

use super::*;

#[test]
fn v3_has_what_kubectl_looks_for() {
    let registry = Registry::builtin();
    let apps = v3(&registry, "apps", "v1", "v1.36.0").expect("apps");
    let schemas = &apps["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "kind": "Deployment", "version": "v1"}])
    );
    assert_eq!(
        deployment["properties"]["spec"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(containers["description"].as_str().is_some_and(|text| text.starts_with("List of containers")));
    // kubectl's check for server-side field validation.
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let names: Vec<_> =
        patch["parameters"].as_array().into_iter().flatten().map(|p| p["name"].clone()).collect();
    assert!(names.contains(&json!("fieldValidation")) && names.contains(&json!("dryRun")));
    assert!(apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"].get("post").is_none());
    assert!(apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments"]["post"].is_object());
    assert_eq!(
        apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["patch"]["x-kubernetes-group-version-kind"]
            ["kind"],
        "Scale"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    let registry = Registry::builtin();
    for document in documents(&registry) {
        let value = v3(&registry, document.group, document.version, "v1.36.0").expect("a document");
        follow(&value, &value["components"]["schemas"], "#/components/schemas/");
    }
    let old = v2(&registry, "v1.36.0");
    follow(&old, &old["definitions"], "#/definitions/");
}

fn follow(value: &Value, schemas: &Value, prefix: &str) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                let name = name.strip_prefix(prefix).expect("a local reference");
                assert!(schemas[name].is_object(), "{name}");
            }
            map.values().for_each(|inner| follow(inner, schemas, prefix));
        }
        Value::Array(items) => items.iter().for_each(|inner| follow(inner, schemas, prefix)),
        _ => {}
    }
}

#[test]
fn the_index_names_every_document() {
    let registry = Registry::builtin();
    let documents = documents(&registry);
    assert!(documents.iter().all(|one| document(&registry, &one.path).as_ref() == Some(one)));
    for other in ["", "api", "api/v9", "apis//v1", "apis/apps/v9", "apis/apps/v1/deployments"] {
        assert_eq!(document(&registry, other), None, "{other}");
    }
    let index = index(&documents, |document| document.path.len().to_string());
    assert_eq!(index["paths"]["api/v1"]["serverRelativeURL"], "/openapi/v3/api/v1?hash=6");
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], "/openapi/v3/apis/apps/v1?hash=12");
    assert!(v3(&Registry::builtin(), "nope", "v1", "v1.36.0").is_none());
}
