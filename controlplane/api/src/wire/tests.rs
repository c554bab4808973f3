//! Negotiation, bodies in every encoding, and hostile bytes.

use serde_json::{Value, json};

use super::*;
use crate::kind::Registry;
use crate::path::FieldValidation;
use crate::schema;

fn allow() -> Allow {
    Allow { transforms: true, ..Allow::default() }
}

#[test]
fn accept_headers() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let cases: &[(&str, Allow, Encoding, Convert)] = &[
        ("", allow(), Encoding::Json, Convert::None),
        ("*/*", allow(), Encoding::Json, Convert::None),
        ("application/json, */*", allow(), Encoding::Json, Convert::None),
        (table, allow(), Encoding::Json, Convert::Table("v1".into())),
        (table, Allow::default(), Encoding::Json, Convert::None),
        ("application/vnd.kubernetes.protobuf,application/json", allow(), Encoding::Protobuf, Convert::None),
        ("application/json;q=0.1,application/yaml", allow(), Encoding::Yaml, Convert::None),
        (
            "application/vnd.kubernetes.protobuf;stream=watch",
            Allow { watch: true, ..allow() },
            Encoding::Protobuf,
            Convert::None,
        ),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            allow(),
            Encoding::Protobuf,
            Convert::PartialObjectMetadataList("v1".into()),
        ),
        (
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json",
            allow(),
            Encoding::Json,
            Convert::None,
        ),
        (
            discovery,
            Allow { discovery: true, ..Allow::default() },
            Encoding::Json,
            Convert::Discovery("v2".into()),
        ),
        (discovery, Allow::default(), Encoding::Json, Convert::None),
    ];
    for (header, allow, encoding, convert) in cases {
        let accepted = negotiate(header, *allow).unwrap_or_else(|status| panic!("{header}: {status}"));
        assert_eq!((accepted.encoding, &accepted.convert), (*encoding, convert), "{header}");
    }
    let status = negotiate("text/html", allow()).unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            406,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    );
    let yaml_watch = negotiate("application/yaml", Allow { watch: true, ..allow() }).unwrap_err();
    assert_eq!(
        yaml_watch.message,
        "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    );
}

#[test]
fn content_types() {
    assert_eq!(Encoding::of_content_type("application/json; charset=utf-8").ok(), Some(Encoding::Json));
    let status = Encoding::of_content_type("text/plain").unwrap_err();
    assert_eq!(status.code, 415);
    assert_eq!(PatchType::of_content_type("application/merge-patch+json").ok(), Some(PatchType::Merge));
    assert_eq!(
        PatchType::of_content_type("application/json").unwrap_err().message,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
    );
}

fn decode(
    resource: (&str, &str),
    text: &str,
    content_type: &str,
    validation: FieldValidation,
) -> Result<Body, crate::status::Status> {
    let kind = Registry::builtin().by_resource(resource.0, "v1", resource.1).expect("served");
    decode_body(text.as_bytes(), content_type, kind.into(), validation)
}

#[test]
fn bodies_and_complaints() {
    let deployments = ("apps", "deployments");
    let odd = r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"foo":1}}"#;
    let json = "application/json";
    let body = decode(deployments, odd, json, FieldValidation::Warn).expect("warned only");
    assert_eq!(body.warnings, ["unknown field \"spec.foo\""]);
    assert_eq!(body.object["spec"].get("foo"), None);
    let cases = [
        (
            odd,
            FieldValidation::Strict,
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.foo\"",
        ),
        (
            r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"replicas":"a"}}"#,
            FieldValidation::Warn,
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#,
            FieldValidation::Warn,
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
        ),
        (
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            FieldValidation::Warn,
            "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to (v1.Deployment): unknown conversion",
        ),
    ];
    for (text, validation, message) in cases {
        let status = decode(deployments, text, json, validation).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (400, message));
    }
    let status = decode(deployments, "{oops", json, FieldValidation::Warn).unwrap_err();
    assert!(status.message.starts_with("the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: "), "{status}");
    assert!(status.message.ends_with("({oops)"), "{status}");
}

#[test]
fn yaml_is_yaml_1_1() {
    let text = "apiVersion: v1\nkind: Secret\nimmutable: yes\nstringData:\n  a: \"yes\"\n  n: '1'\nmetadata: {name: s}\n";
    let body = decode(("", "secrets"), text, "application/yaml", FieldValidation::Strict).expect("valid");
    assert_eq!(
        body.object,
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "immutable": true, "stringData": {"a": "yes", "n": "1"}})
    );
    let doubled = decode(
        ("", "secrets"),
        "kind: Secret\napiVersion: v1\ntype: a\ntype: b\n",
        "application/yaml",
        FieldValidation::Strict,
    );
    let message = doubled.unwrap_err().message;
    assert!(message.ends_with("strict decoding error: duplicate field \"type\""), "{message}");
    let printed = to_yaml(&json!({"b": 1, "a": {"d": "true", "c": [1, "x"]}})).expect("prints");
    assert_eq!(
        from_yaml(printed.as_bytes(), None).expect("reads").value,
        json!({"a": {"c": [1, "x"], "d": "true"}, "b": 1})
    );
    assert!(printed.starts_with("a:"), "{printed}");
}

#[test]
fn protobuf_twin_equals_json() {
    let text = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"},"creationTimestamp":null},
        "spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},"strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},
        "template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"nginx","resources":{"limits":{"cpu":"0.5"}},
        "ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"path":"/","port":"http"}}}],"volumes":[{"name":"v","emptyDir":{}}],
        "terminationGracePeriodSeconds":0}}}}"#;
    let twin = decode(("apps", "deployments"), text, "application/json", FieldValidation::Strict)
        .expect("valid")
        .object;
    let kind = schema::find("io.k8s.api.apps.v1.Deployment").expect("type");
    let bytes = protobuf::encode(&twin, kind).expect("encodes");
    let wanted = Registry::builtin().by_resource("apps", "v1", "deployments").expect("served");
    let body = decode_body(&bytes, Encoding::Protobuf.content_type(), wanted.into(), FieldValidation::Strict)
        .expect("decodes");
    assert_eq!(body.object, twin);
    assert_eq!(body.object.to_string(), twin.to_string());
}

#[test]
fn protobuf_refuses_what_it_would_lose() {
    let kind = schema::find("io.k8s.api.core.v1.ConfigMap").expect("type");
    let cases: [(&[u8], &str); 5] = [
        (&[0xfa, 0x06, 0x00], "unknown protobuf field number 111 in ConfigMap"),
        (&[0x0a, 0x05, 0x00], "unexpected EOF"),
        (&[0x08, 0x01], "proto: wrong wireType = 0 for field metadata"),
        (&[0x0a, 0x03, 0x0a, 0x01, 0xff], "proto: field metadata.name contains invalid UTF-8"),
        (&[0x0b], "proto: illegal wireType 3"),
    ];
    for (bytes, message) in cases {
        assert_eq!(protobuf::decode(bytes, kind).unwrap_err().to_string(), message);
    }
    let status = decode_body(
        b"{}",
        Encoding::Protobuf.content_type(),
        Registry::builtin().by_resource("", "v1", "pods").expect("pods").into(),
        FieldValidation::Warn,
    );
    assert!(status.unwrap_err().message.contains("provided data does not appear to be a protobuf message"));
}

#[test]
fn protobuf_is_as_deep_as_what_it_becomes() {
    let name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let kind = schema::find(name).expect("type");
    let nested = |levels: usize| {
        (0..levels).fold(json!({"type": "string"}), |inner, _| json!({"properties": {"p": inner}}))
    };
    for (levels, fits) in [(40, true), (49, true), (50, false), (90, false), (120, false)] {
        let bytes = protobuf::encode_value(&nested(levels), kind).expect("encodes");
        let read = protobuf::decode(&bytes, kind);
        assert_eq!(read.is_ok_and(|value| schema::depth(&value) == 2 * levels + 1), fits, "{levels}");
    }
    let raw = schema::find("io.k8s.api.apps.v1.ControllerRevision").expect("type");
    let data = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"x": inner}));
    for (levels, fits) in [(90, true), (110, false)] {
        let bytes =
            protobuf::encode_value(&json!({"data": data(levels), "revision": 1}), raw).expect("encodes");
        assert_eq!(protobuf::decode(&bytes, raw).is_ok(), fits, "{levels}");
    }
}

#[test]
fn watch_frames() {
    let line = watch_frame_json(WatchType::Added, b"{}");
    assert_eq!(line, b"{\"type\":\"ADDED\",\"object\":{}}\n");
    let object = protobuf::envelope::seal("v1", "Pod", &[]);
    let frame = watch_frame_protobuf(WatchType::Bookmark, &object);
    assert_eq!(frame[..4], u32::to_be_bytes(frame.len() as u32 - 4));
    assert!(frame.windows(8).any(|part| part == b"BOOKMARK"));
}

#[test]
fn delete_options_in_every_form() {
    let text = json!({"kind": "DeleteOptions", "apiVersion": "apps/v1", "propagationPolicy": "Background"});
    let value = decode_options(text.to_string().as_bytes(), "application/json").expect("valid");
    assert_eq!(value["propagationPolicy"], "Background");
    let kind = schema::find("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions").expect("type");
    let bytes = protobuf::encode(&value, kind).expect("encodes");
    assert_eq!(decode_options(&bytes, "application/vnd.kubernetes.protobuf").expect("valid"), value);
    assert_eq!(Value::Null, value["nothing"]);
}

/// Empty objects as Go's generated code writes them: every field that is no pointer is there, in order of number.
#[test]
fn empty_objects_are_gos_to_the_byte() {
    let cases = [
        (
            "io.k8s.api.core.v1.Pod",
            "0a100a0012001a0022002a00320038004200121c1a00320042004a0052005800600068008201008a01009a0100c201001a130a001a0022002a0032004a005a007200880100",
            r#"{"metadata":{},"spec":{"containers":null},"status":{}}"#,
        ),
        (
            "io.k8s.api.core.v1.Node",
            "0a100a0012001a0022002a0032003800420012080a0012001a0020001a1e1a0032040a0208003a140a0012001a0022002a0032003a0042004a005200",
            r#"{"metadata":{},"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","operatingSystem":"","architecture":""}}}"#,
        ),
        (
            "io.k8s.api.core.v1.Event",
            "0a100a0012001a0022002a00320038004200120e0a0012001a0022002a0032003a001a0022002a040a00120032003a0040004a005200620072007a00",
            r#"{"metadata":{},"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#,
        ),
        (
            "io.k8s.api.core.v1.Service",
            "0a100a0012001a0022002a0032003800420012101a0022003a00420052005a00600068001a020a00",
            r#"{"metadata":{},"spec":{},"status":{"loadBalancer":{}}}"#,
        ),
        ("io.k8s.api.core.v1.Secret", "0a100a0012001a0022002a003200380042001a00", r#"{"metadata":{}}"#),
    ];
    for (name, bytes, text) in cases {
        let kind = schema::find(name).expect("served");
        let object = schema::canonical(json!({}), kind).expect("canonical");
        assert_eq!(object.to_string(), text);
        let ours = protobuf::encode_value(&object, kind).expect("encodes");
        let hex: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, bytes, "{name}");
    }
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), pick in 0..1000usize) {
            let types = schema::types();
            let kind = types[pick % types.len()];
            if let Ok(value) = protobuf::decode(&bytes, kind) {
                let _ = schema::canonical(value, kind);
            }
            let _ = protobuf::envelope::open(&[protobuf::envelope::MAGIC, &bytes[..]].concat());
            let _ = schema::decode_json(&bytes, Some(kind));
        }

        #[test]
        fn damaged_messages_never_panic(at in 0..400usize, byte: u8) {
            let kind = schema::find("io.k8s.api.core.v1.Pod").expect("Pod");
            let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c",
                "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]}});
            let mut bytes = protobuf::encode_value(&schema::canonical(pod, kind).expect("fits"), kind).expect("encodes");
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(value) = protobuf::decode(&bytes, kind) {
                let _ = schema::canonical(value, kind);
            }
        }
    }
}
