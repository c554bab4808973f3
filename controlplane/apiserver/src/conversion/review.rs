//! ConversionReview: what a conversion webhook is asked, and which answers are taken. Pure.
//!
//! Reference: `ConversionReview` of apiextensions.k8s.io/v1 and v1beta1; the sentences are upstream's, clients show them.

use api::field;
use api::validation;
use serde_json::{Map, Value, json};

/// An object's kind as sentences name it: `x.io/v1, Kind=T`.
pub(super) fn kind_of(object: &Value) -> String {
    format!("{}, Kind={}", text(object, "apiVersion"), text(object, "kind"))
}

/// The whole question.
pub(super) fn question(review: &str, uid: &str, objects: &[Value], version: &str) -> Value {
    json!({"kind": "ConversionReview", "apiVersion": review,
        "request": {"uid": uid, "desiredAPIVersion": version, "objects": objects}})
}

/// The objects in an answer.
pub(super) fn converted(mut answer: Value, review: &str, uid: &str) -> Result<Vec<Value>, String> {
    // Of v1beta1 neither was ever checked.
    let is_strict = review.ends_with("/v1");
    if is_strict && (answer["apiVersion"] != review || answer["kind"] != "ConversionReview") {
        let got = kind_of(&answer);
        return Err(format!("expected webhook response of {review}, Kind=ConversionReview, got {got}"));
    }
    let Some(response) = answer.get_mut("response").filter(|response| response.is_object()) else {
        return Err("no response provided".into());
    };
    let got = text(response, "uid");
    if is_strict && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    let result = &response["result"];
    match (text(result, "status"), text(result, "message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, why) => return Err(why.to_owned()),
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// A converted object with the metadata that it must have.
pub(super) fn checked(original: &Value, mut made: Value, version: &str) -> Result<Value, String> {
    let got = text(&made, "apiVersion");
    if got != version {
        return Err(format!(
            "invalid object at index 0: invalid groupVersion (expected {version}, received {got})"
        ));
    }
    let (wanted, got) = (text(original, "kind"), text(&made, "kind"));
    if wanted != got {
        return Err(format!("invalid object at index 0: invalid kind (expected {wanted}, received {got})"));
    }
    for (name, told) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (wanted, got) = (text(&original["metadata"], name), text(&made["metadata"], name));
        if wanted != got {
            return Err(format!("invalid object: must have the same {told}: {wanted} != {got}"));
        }
    }
    let metadata = restored(&original["metadata"], made.get("metadata"))
        .map_err(|why| format!("invalid metadata: {why}"))?;
    made["metadata"] = metadata;
    Ok(made)
}

/// The original's metadata with the labels and annotations of the converted object.
fn restored(original: &Value, made: Option<&Value>) -> Result<Value, String> {
    let made = made.ok_or("missing metadata in converted object")?;
    let Value::Object(made) = made else {
        return Err(format!("invalid metadata of type {} in converted object", type_of(made)));
    };
    let mut metadata = original.as_object().cloned().unwrap_or_default();
    for name in ["labels", "annotations"] {
        match made.get(name) {
            None | Some(Value::Null) => drop(metadata.shift_remove(name)),
            Some(Value::Object(texts)) => {
                check_texts(name, texts, original)?;
                metadata.insert(name.into(), Value::Object(texts.clone()));
            }
            Some(other) => {
                return Err(format!(
                    "invalid metadata.{name} of type {} in converted object",
                    type_of(other)
                ));
            }
        }
    }
    Ok(Value::Object(metadata))
}

fn check_texts(name: &str, texts: &Map<String, Value>, original: &Value) -> Result<(), String> {
    if let Some((key, value)) = texts.iter().find(|(_, value)| !value.is_string()) {
        let of = type_of(value);
        return Err(format!("metadata.{name}[{key}] must be a string, but is {of} in converted object"));
    }
    // What was there before is left as it is.
    if original[name].as_object() == Some(texts) {
        return Ok(());
    }
    let errors = validation::metadata_texts(name, texts);
    if errors.is_empty() { Ok(()) } else { Err(field::aggregate(&errors)) }
}

/// Go's name of a JSON value's type.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "apiextensions.k8s.io/v1";

    #[test]
    fn answers_are_taken_or_refused_in_upstreams_words() {
        let check = |review: &str, answer: Value, expect: Result<usize, &str>| {
            let got = converted(answer.clone(), review, "u");
            assert_eq!(got.map(|objects| objects.len()), expect.map_err(str::to_owned), "{answer}");
        };
        let answer =
            |response: Value| json!({"kind": "ConversionReview", "apiVersion": V1, "response": response});
        let good = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}, {}]});
        check(V1, answer(good.clone()), Ok(2));
        check(
            V1,
            json!({"kind": "Other", "apiVersion": V1, "response": good}),
            Err(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Other",
            ),
        );
        check(V1, json!({"kind": "ConversionReview", "apiVersion": V1}), Err("no response provided"));
        check(V1, answer(json!({"uid": "x"})), Err("expected response.uid=\"u\", got \"x\""));
        let failed = |result: Value| answer(json!({"uid": "u", "result": result}));
        check(V1, failed(json!({"status": "Failure", "message": "no way"})), Err("no way"));
        check(V1, failed(json!({})), Err("response.result.status was '', not 'Success'"));
        let beta = json!({"response": {"result": {"status": "Success"}, "convertedObjects": [{}]}});
        check("apiextensions.k8s.io/v1beta1", beta, Ok(1));
    }

    #[test]
    fn of_metadata_labels_and_annotations_alone_are_the_webhooks() {
        let original = json!({"kind": "T", "apiVersion": "x.io/v1", "metadata": {"name": "a", "uid": "1",
            "generation": 3, "labels": {"l": "1"}, "annotations": {"a": "1"}}, "spec": {"old": 1}});
        let check = |made: Value, expect: Result<Value, &str>| {
            let got = checked(&original, made.clone(), "x.io/v2").map(|object| object["metadata"].clone());
            assert_eq!(got, expect.map_err(str::to_owned), "{made}");
        };
        let made = |metadata: Value| json!({"kind": "T", "apiVersion": "x.io/v2", "metadata": metadata});
        check(
            made(
                json!({"name": "a", "uid": "1", "generation": 9, "finalizers": ["x/y"], "labels": {"l": "2"}}),
            ),
            Ok(json!({"name": "a", "uid": "1", "generation": 3, "labels": {"l": "2"}})),
        );
        check(made(json!({"name": "b"})), Err("invalid object: must have the same name: a != b"));
        check(made(json!({"name": "a", "uid": "2"})), Err("invalid object: must have the same UID: 1 != 2"));
        let texts = |name: &str, texts: Value| made(json!({"name": "a", "uid": "1", name: texts}));
        check(
            texts("labels", json!({"l": 1})),
            Err("invalid metadata: metadata.labels[l] must be a string, but is int64 in converted object"),
        );
        check(
            texts("annotations", json!([])),
            Err("invalid metadata: invalid metadata.annotations of type []interface {} in converted object"),
        );
        let long = checked(&original, texts("labels", json!({"l": "not/valid"})), "x.io/v2");
        assert!(long.is_err_and(|why| {
            why.starts_with("invalid metadata: metadata.labels: Invalid value: \"not/valid\"")
        }));
        let mut other = made(json!({"name": "a", "uid": "1"}));
        other["apiVersion"] = "x.io/v3".into();
        check(
            other,
            Err("invalid object at index 0: invalid groupVersion (expected x.io/v2, received x.io/v3)"),
        );
        let mut other = made(json!({"name": "a", "uid": "1"}));
        other["kind"] = "U".into();
        check(other, Err("invalid object at index 0: invalid kind (expected T, received U)"));
    }
}
