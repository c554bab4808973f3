//! Bodies: JSON, YAML and protobuf twins, tables, metadata alone, and what is refused.

use harness::api::Server;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_keelson");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A field of a protobuf message whose value has a length below 128 bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a short value");
    assert!(length < 128, "one byte says the length");
    [&[number << 3 | 2, length], value].concat()
}

/// The envelope that Kubernetes puts around a message.
fn envelope(kind: &str, message: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, message)].concat()
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value.as_bytes())].concat()
}

/// What the server decides for each object by itself.
fn without_identity(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for name in ["name", "uid", "resourceVersion", "creationTimestamp"] {
        assert!(metadata.shift_remove(name).is_some(), "{name}");
    }
    object
}

#[test]
fn an_object_from_protobuf_or_yaml_equals_its_json_twin() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let metadata = [field(1, b"binary"), field(11, &entry("app", "web"))].concat();
    let message = [field(1, &metadata), field(2, &entry("a", "b"))].concat();
    let binary = admin.send("POST", MAPS, PROTOBUF, &envelope("ConfigMap", &message)).expect(201);
    let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text", "labels": {"app": "web"}}, "data": {"a": "b"}});
    let text = admin.post(MAPS, &text).expect(201);
    let yaml =
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yaml\n  labels: {app: web}\ndata:\n  a: b\n";
    let yaml = admin.send("POST", MAPS, "application/yaml", yaml).expect(201);
    for object in [binary, yaml, admin.get(&format!("{MAPS}/binary")).expect(200)] {
        assert_eq!(without_identity(object), without_identity(text.clone()));
    }
    let answer = admin.with("accept", PROTOBUF).get(&format!("{MAPS}/binary"));
    assert_eq!((answer.code, answer.header("content-type")), (200, PROTOBUF));
    assert!(answer.body.starts_with(b"k8s\0"));
    // What the server encodes it also understands: sent back, nothing changes.
    let same = admin.send("PUT", &format!("{MAPS}/binary"), PROTOBUF, &answer.body).expect(200);
    assert_eq!(same, admin.get(&format!("{MAPS}/binary")).expect(200));
    let yaml = admin.with("accept", "application/yaml").get(&format!("{MAPS}/text"));
    assert_eq!((yaml.code, yaml.header("content-type")), (200, "application/yaml"));
    assert!(yaml.text().contains("kind: ConfigMap\n"), "{}", yaml.text());
}

#[test]
fn tables_and_metadata_alone() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    admin
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .expect(201);
    admin.get("/api/v1/serviceaccounts").expect(200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}});
    admin.post(PODS, &pod).expect(201);
    let table =
        admin.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").get(PODS);
    let table = table.expect(200);
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let columns: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| &column["name"])
        .collect();
    let expected =
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"];
    assert_eq!(columns, expected);
    let row = &table["rows"][0];
    let cells = row["cells"].as_array().expect("cells");
    assert_eq!(cells[..3], [json!("p"), json!("0/2"), json!("Pending")]);
    assert_eq!(cells[5..], [json!("<none>"), json!("<none>"), json!("<none>"), json!("<none>")]);
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = admin.with("accept", partial).get(PODS).expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "p");
    assert!(list["items"][0]["spec"].is_null());
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let one = admin.with("accept", partial).get(&format!("{PODS}/p")).expect(200);
    assert_eq!((&one["kind"], &one["spec"]), (&json!("PartialObjectMetadata"), &Value::Null));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let server = Server::start(PROGRAM);
    let admin = server.admin();
    let huge = vec![b' '; (3 << 20) + 1];
    admin.send("POST", MAPS, "application/json", &huge).refused(
        413,
        "RequestEntityTooLarge",
        "limit is 3145728",
    );
    for (method, path, content_type, body, code, reason) in [
        ("POST", MAPS, "text/plain", "x", 415, "UnsupportedMediaType"),
        (
            "PATCH",
            "/api/v1/namespaces/default/configmaps/x",
            "application/json",
            "{}",
            415,
            "UnsupportedMediaType",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default/configmaps/x",
            "application/merge-patch+json",
            "{}",
            404,
            "NotFound",
        ),
        ("POST", MAPS, "application/json", "{", 400, "BadRequest"),
        ("POST", MAPS, "application/json", "[]", 400, "BadRequest"),
        ("POST", MAPS, "application/json", r#"{"kind":"Pod","apiVersion":"v1"}"#, 400, "BadRequest"),
        ("POST", MAPS, "application/json", r#"{"metadata":{"name":"a"},"data":{"a":1}}"#, 400, "BadRequest"),
        ("POST", MAPS, PROTOBUF, "k8s\0\u{1}", 400, "BadRequest"),
        (
            "POST",
            MAPS,
            "application/json",
            r#"{"metadata":{"name":"a","namespace":"other"}}"#,
            400,
            "BadRequest",
        ),
        (
            "POST",
            "/api/v1/namespaces/gone/configmaps",
            "application/json",
            r#"{"metadata":{"name":"a"}}"#,
            404,
            "NotFound",
        ),
        ("PUT", MAPS, "application/json", "{}", 405, "MethodNotAllowed"),
        (
            "POST",
            "/api/v1/namespaces/default/configmaps/x",
            "application/json",
            "{}",
            405,
            "MethodNotAllowed",
        ),
    ] {
        let answer = admin.send(method, path, content_type, body.as_bytes());
        assert_eq!(answer.code, code, "{method} {path} {body}: {}", answer.text());
        answer.refused(code, reason, "");
    }
    let answer = admin.with("accept", "image/png").get(MAPS);
    assert_eq!(answer.code, 406, "{}", answer.text());
    for path in [
        "/api/v9",
        "/apis/nothing",
        "/apis/apps/v1/nothing",
        "/api/v1/namespaces/default/nothing",
        "/nothing",
    ] {
        assert_eq!(admin.get(path).code, 404, "{path}");
    }
}
