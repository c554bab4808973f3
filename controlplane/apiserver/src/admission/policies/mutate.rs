//! MutatingAdmissionPolicy: expressions that change an object before it is stored.
//!
//! ```text
//!   policies and bindings ─► constraints ─► per mutation: conditions, variables ─► ApplyConfiguration: merged as an apply
//!                                                                               └► JSONPatch: applied in order
//! ```
//!
//! Each mutation sees what those before it made. Not here: `reinvocationPolicy` (every policy runs once).
//! A delete has nothing to change.
//!
//! Reference: KEP-3962; `apiserver/pkg/admission/plugin/policy/mutating` 1.36, by behaviour.

use api::apply::Of;
use api::cel::{self, Budget, Program, Type, Value as Cel};
use api::status::Status;
use api::wire::BodyOf;
use serde_json::{Value, json};

use super::super::authorizer::authorizer;
use super::super::webhooks::{GROUP, request_of};
use super::super::{Attributes, Operation, name_of};
use super::{Policy, compiled, namespace_of, params, prepare};
use crate::registry::with_type;
use crate::server::Server;

/// One change.
#[derive(Debug)]
pub(super) enum Mutation {
    /// An object that is applied.
    Apply(Option<Program>),
    /// A list of operations.
    Patch(Option<Program>),
}

impl Mutation {
    pub(super) fn read(one: &Value) -> Mutation {
        let program = |name: &str| compiled(&one[name]["expression"], &Type::Dyn);
        match one["patchType"].as_str() {
            Some("JSONPatch") => Mutation::Patch(program("jsonPatch")),
            _ => Mutation::Apply(program("applyConfiguration")),
        }
    }
}

/// Changes an object by every policy that is about the request.
pub fn mutate(server: &Server, attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let policies = server.policies.mutating(server);
    if policies.is_empty() || attributes.kind.group == GROUP || attributes.operation == Operation::Delete {
        return Ok(());
    }
    for policy in policies.iter() {
        for binding in &policy.bindings {
            let concerned = [&policy.constraints, &binding.constraints];
            if !concerned.iter().all(|some| some.fit(server, attributes, object)) {
                continue;
            }
            let changed = params(server, attributes, policy, binding).and_then(|all| {
                all.iter().try_fold(object.clone(), |object, params| {
                    change(server, attributes, policy, params, object)
                })
            });
            match changed {
                Ok(changed) => *object = changed,
                Err(_) if policy.ignores => {}
                Err(why) => return Err(refused(attributes, policy, &binding.name, object, &why)),
            }
        }
    }
    Ok(())
}

fn change(
    server: &Server,
    attributes: &Attributes<'_>,
    policy: &Policy,
    params: &Value,
    mut object: Value,
) -> Result<Value, String> {
    let mut budget = Budget::new(cel::OBJECT_LIMIT);
    let null = Value::Null;
    for (position, mutation) in policy.mutations.iter().enumerate() {
        let (request, namespace) = (request_of(attributes, &object), namespace_of(server, attributes));
        let names = vec![
            ("object", Cel::of(&object, None)),
            ("oldObject", Cel::of(attributes.old.unwrap_or(&null), None)),
            ("request", Cel::of(&request, None)),
            ("params", Cel::of(params, None)),
            ("namespaceObject", Cel::of(&namespace, None)),
            ("authorizer", authorizer(server, attributes)),
        ];
        let Some(names) = prepare(policy, names, &mut budget)? else { return Ok(object) };
        let (Mutation::Apply(program) | Mutation::Patch(program)) = mutation;
        let Some(program) = program else { continue };
        let made = program.run(&names, &mut budget);
        let made = made.map_err(|why| format!("mutation {position} resulted in error: {why}"))?;
        let made = made.to_json().ok_or_else(|| format!("mutation {position} is no object"))?;
        drop(names);
        object = match mutation {
            Mutation::Apply(_) => applied(attributes, &object, made)?,
            Mutation::Patch(_) => patched(attributes, &object, &made)?,
        };
        if attributes.subobject().is_none() {
            api::defaulting::apply(attributes.kind, &mut object);
        }
    }
    Ok(object)
}

/// The object with a configuration; its name, kind and owners are not the policy's to choose.
fn applied(attributes: &Attributes<'_>, object: &Value, mut config: Value) -> Result<Value, String> {
    if !config.is_object() {
        return Err("type of applyConfiguration must be Object".into());
    }
    for name in ["apiVersion", "kind"] {
        config[name] = object[name].clone();
    }
    let kind = attributes.subobject().map_or(attributes.kind.kind, |row| row.kind);
    let what = format!("{kind}; {}", name_of(object));
    let merge = |of: Of<'_>| {
        let config = api::apply::configuration(config, of, &what)?;
        api::apply::merge_into(object, &config, of)
    };
    let merged = match attributes.subobject() {
        None => with_type(attributes.kind, merge),
        Some(row) => api::schema::find(row.schema)
            .map(|of| merge(Of::Type(of)))
            .ok_or_else(|| Status::internal(format!("no schema for {}", row.kind))),
    };
    merged.and_then(|merged| merged).map_err(|status| status.message)
}

fn patched(attributes: &Attributes<'_>, object: &Value, patch: &Value) -> Result<Value, String> {
    let Some(operations) = patch.as_array() else { return Err("type of jsonPatch must be a list".into()) };
    // What has no value is left out: `remove` and `move` carry none.
    let known = ["op", "path", "from", "value"];
    let clean = |one: &Value| -> Value {
        let fields = one.as_object().into_iter().flatten().filter(|(name, _)| known.contains(&name.as_str()));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let patch = json!(operations.iter().map(clean).collect::<Vec<_>>()).to_string();
    let wanted = attributes.subobject().map_or_else(|| BodyOf::from(attributes.kind), BodyOf::from);
    let ignore = api::path::FieldValidation::Ignore;
    api::patch::apply(api::wire::PatchType::Json, object, patch.as_bytes(), wanted, ignore)
        .map(|body| body.object)
        .map_err(|status| format!("JSON Patch: {}", status.message))
}

fn refused(attributes: &Attributes<'_>, policy: &Policy, binding: &str, object: &Value, why: &str) -> Status {
    let sentence =
        format!("MutatingAdmissionPolicy '{}' with binding '{binding}' denied request: {why}", policy.name);
    let name = match name_of(object) {
        "" => attributes.request.info.name.as_str(),
        name => name,
    };
    Status::forbidden(attributes.kind.qualified_resource(), name, &sentence)
}
