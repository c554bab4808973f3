//! Request bodies: bytes and a content type to a canonical object of the expected kind, or upstream's complaint.
//!
//! Not defaulting and not validation; not the resource's own rules.

use serde_json::Value;

use super::{Encoding, from_yaml, protobuf};
use crate::custom::Slot;
use crate::field::quote;
use crate::kind::{Kind, Subresource, api_version};
use crate::path::FieldValidation;
use crate::schema::{self, Decoded, Type, canonical};
use crate::status::Status;

/// How much of a bad body is quoted.
const SUMMARY_MAX: usize = 30;

/// A decoded body.
#[derive(Debug)]
pub struct Body {
    /// Canonical, with the expected `apiVersion` and `kind`.
    pub object: Value,
    /// For the `Warning` headers.
    pub warnings: Vec<String>,
}

/// What a body must be.
#[derive(Clone, Copy, Debug)]
pub struct BodyOf {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub schema: &'static str,
    /// Of custom resources: where their definition is.
    pub custom: Option<&'static Slot>,
}

impl From<&Kind> for BodyOf {
    fn from(kind: &Kind) -> Self {
        BodyOf {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
            schema: kind.schema,
            custom: kind.custom,
        }
    }
}

impl From<&Subresource> for BodyOf {
    fn from(sub: &Subresource) -> Self {
        BodyOf { group: sub.group, version: sub.version, kind: sub.kind, schema: sub.schema, custom: None }
    }
}

/// Decodes an object that is created or replaces another.
pub fn decode_body(
    bytes: &[u8],
    content_type: &str,
    wanted: BodyOf,
    validation: FieldValidation,
) -> Result<Body, Status> {
    let encoding = Encoding::of_content_type(content_type)?;
    if let Some(slot) = wanted.custom {
        return custom_body(bytes, encoding, wanted, slot, validation);
    }
    let kind = schema::find(wanted.schema)
        .ok_or_else(|| Status::internal(format!("no schema for {}", wanted.kind)))?;
    let unrecognized = |error: String| {
        let sentence = format!(
            "the object provided is unrecognized (must be of type {}): {error} ({})",
            wanted.kind,
            summary(bytes)
        );
        Status::bad_request(sentence)
    };
    let decoded = read(bytes, encoding, kind, wanted.kind).map_err(unrecognized)?;
    let got = Got::of(&decoded.value, wanted);
    got.check(wanted)?;
    let refuse = |error: String| {
        Status::bad_request(format!(
            "{} in version {} cannot be handled as a {}: {error}",
            got.kind,
            quote(&got.version),
            wanted.kind
        ))
    };
    let mut object = canonical(decoded.value, kind).map_err(|error| refuse(error.0))?;
    if validation == FieldValidation::Strict && !decoded.issues.is_empty() {
        return Err(refuse(format!("strict decoding error: {}", decoded.issues.join(", "))));
    }
    stamp(&mut object, wanted);
    let warnings = if validation == FieldValidation::Warn { decoded.issues } else { vec![] };
    Ok(Body { object, warnings })
}

/// The same for a custom resource, which has no protobuf form.
fn custom_body(
    bytes: &[u8],
    encoding: Encoding,
    wanted: BodyOf,
    slot: &Slot,
    validation: FieldValidation,
) -> Result<Body, Status> {
    let custom = slot.get().ok_or_else(Status::no_such_path)?;
    let decoded = match encoding {
        Encoding::Json => schema::decode_json(bytes, None).map_err(|error| error.to_string()),
        Encoding::Yaml => from_yaml(bytes, None),
        Encoding::Protobuf => {
            let supported = [Encoding::Json.content_type(), Encoding::Yaml.content_type()];
            return Err(Status::unsupported_media_type(&supported));
        }
    };
    let decoded = decoded.map_err(|error| {
        Status::bad_request(format!("error decoding {}: {error} ({})", wanted.kind, summary(bytes)))
    })?;
    let got = Got::of(&decoded.value, wanted);
    got.check(wanted)?;
    let mut issues = decoded.issues;
    if validation != FieldValidation::Ignore {
        issues.extend(custom.issues(&decoded.value));
    }
    if validation == FieldValidation::Strict && !issues.is_empty() {
        return Err(Status::bad_request(format!("strict decoding error: {}", issues.join(", "))));
    }
    let mut object = custom.accept(decoded.value).map_err(|error| {
        let (version, kind) = (quote(&got.version), &got.kind);
        Status::bad_request(format!("{kind} in version {version} cannot be handled as a {kind}: {}", error.0))
    })?;
    stamp(&mut object, wanted);
    let warnings = if validation == FieldValidation::Warn { issues } else { vec![] };
    Ok(Body { object, warnings })
}

/// Decodes the options object of a request with a body (`DeleteOptions`), whatever group version it claims.
pub fn decode_options(bytes: &[u8], content_type: &str) -> Result<Value, Status> {
    let encoding = Encoding::of_content_type(content_type)?;
    let kind = schema::find("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
        .ok_or_else(|| Status::internal("no schema for DeleteOptions"))?;
    let refuse = |error: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type DeleteOptions): {error} ({})",
            summary(bytes)
        ))
    };
    let decoded = read(bytes, encoding, kind, "DeleteOptions").map_err(refuse)?;
    if let Some(name) =
        decoded.value["kind"].as_str().filter(|name| !name.is_empty() && *name != "DeleteOptions")
    {
        let version = decoded.value["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "{name} in version {} cannot be handled as a DeleteOptions: not an options object",
            quote(version)
        )));
    }
    canonical(decoded.value, kind).map_err(|error| refuse(error.0))
}

/// The bytes of a merge, strategic-merge or apply patch as a value (YAML for apply, which JSON is a part of).
pub fn patch_body(bytes: &[u8], yaml: bool) -> Result<Decoded, Status> {
    let refuse = |error: String| Status::bad_request(format!("error decoding patch: {error}"));
    if yaml {
        return from_yaml(bytes, None)
            .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")));
    }
    schema::decode_json(bytes, None).map_err(|error| refuse(error.to_string()))
}

fn read(bytes: &[u8], encoding: Encoding, kind: &'static Type, name: &str) -> Result<Decoded, String> {
    match encoding {
        Encoding::Json => schema::decode_json(bytes, Some(kind))
            .map_err(|error| format!("couldn't get version/kind; json parse error: {error}")),
        Encoding::Yaml => from_yaml(bytes, Some(kind))
            .map_err(|error| format!("error converting YAML to JSON: yaml: {error}")),
        Encoding::Protobuf => {
            let envelope = protobuf::envelope::open(bytes).map_err(|error| error.to_string())?;
            let mut value = if envelope.kind.is_empty() || envelope.kind == name {
                protobuf::decode(envelope.raw, kind).map_err(|error| error.to_string())?
            } else {
                // Another kind's message means nothing here; its name alone gets it refused.
                Value::Object(serde_json::Map::new())
            };
            value["apiVersion"] = envelope.api_version.into();
            value["kind"] = envelope.kind.into();
            Ok(Decoded { value, issues: vec![] })
        }
    }
}

/// What the body says it is; what it leaves out is taken from what is wanted.
struct Got {
    api_version: String,
    version: String,
    kind: String,
}

impl Got {
    fn of(value: &Value, wanted: BodyOf) -> Got {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let api = text("apiVersion").map_or_else(|| api_version(wanted.group, wanted.version), str::to_owned);
        let version = api.rsplit('/').next().unwrap_or_default().to_owned();
        Got { api_version: api, version, kind: text("kind").unwrap_or(wanted.kind).to_owned() }
    }

    fn check(&self, wanted: BodyOf) -> Result<(), Status> {
        let expected = api_version(wanted.group, wanted.version);
        if self.kind != wanted.kind {
            let known = crate::kind::builtin()
                .any(|row| row.kind == self.kind && row.api_version() == self.api_version);
            let why = if known {
                format!("converting (v1.{}) to (v1.{}): unknown conversion", self.kind, wanted.kind)
            } else {
                format!(
                    "no kind {} is registered for version {}",
                    quote(&self.kind),
                    quote(&self.api_version)
                )
            };
            return Err(Status::bad_request(format!(
                "{} in version {} cannot be handled as a {}: {why}",
                self.kind,
                quote(&self.version),
                wanted.kind
            )));
        }
        if self.api_version != expected {
            return Err(Status::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({expected})",
                self.api_version
            )));
        }
        Ok(())
    }
}

fn stamp(object: &mut Value, wanted: BodyOf) {
    if let Value::Object(map) = object {
        let api = api_version(wanted.group, wanted.version);
        if map.get("kind").and_then(Value::as_str) == Some(wanted.kind)
            && map.get("apiVersion").and_then(Value::as_str) == Some(&api)
        {
            return;
        }
        let mut out = serde_json::Map::with_capacity(map.len() + 2);
        out.insert("kind".into(), wanted.kind.into());
        out.insert("apiVersion".into(), api.into());
        out.extend(std::mem::take(map).into_iter().filter(|(key, _)| key != "kind" && key != "apiVersion"));
        *map = out;
    }
}

fn summary(bytes: &[u8]) -> String {
    match bytes.first() {
        None => "<empty>".into(),
        Some(b'{') => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SUMMARY_MAX)]).into_owned();
            if bytes.len() > SUMMARY_MAX { format!("{text} ...") } else { text }
        }
        Some(_) => {
            let hex: String = bytes.iter().take(SUMMARY_MAX).map(|byte| format!("{byte:02x}")).collect();
            if bytes.len() > SUMMARY_MAX { format!("{hex} ...") } else { hex }
        }
    }
}
