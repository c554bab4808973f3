//! ValidatingAdmissionPolicy: expressions that every request they are about must fulfil.
//!
//! ```text
//!   policies and bindings (read when they change) ─► constraints ─► conditions ─► params ─► variables ─► validations ─► deny, warn
//! ```
//!
//! MutatingAdmissionPolicy shares its policies' form and is in `mutate`. Not here: type checking into the policy's status.
//!
//! Reference: KEP-3488; `apiserver/pkg/admission/plugin/policy/validating` 1.36, by behaviour.

mod mutate;

use std::sync::{Arc, Mutex, PoisonError};

use api::cel::{self, Budget, Program, Type, Value as Cel};
use api::selector::LabelSelector;
use api::status::{Cause, Reason, Status};
use serde_json::{Value, json};
use store::Revision;

use super::authorizer::authorizer;
use super::webhooks::{GROUP, Rules, request_of};
use super::{Attributes, Operation};
use crate::server::Server;

/// Names that expressions may use.
const NAMES: [&str; 7] =
    ["object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer"];
use mutate::Mutation;
pub(super) use mutate::mutate;

/// What the audit is told of failures, in upstream's words.
const FAILURES: &str = "validation.policy.admission.k8s.io/validation_failure";
const POLICY: &str = "ValidatingAdmissionPolicy";

/// All policies with their bindings, as of two revisions.
#[derive(Debug, Default)]
pub struct Policies {
    validating: Mutex<Kept>,
    mutating: Mutex<Kept>,
}

/// The revisions of policies and bindings, and what was read at them.
type Kept = ((Revision, Revision), Arc<Vec<Policy>>);

#[derive(Debug)]
struct Policy {
    name: String,
    constraints: Constraints,
    conditions: Vec<Program>,
    variables: Vec<(String, Program)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program)>,
    mutations: Vec<Mutation>,
    ignores: bool,
    params: Option<(String, String)>,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Validation {
    text: String,
    program: Option<Program>,
    message: String,
    message_program: Option<Program>,
    reason: String,
}

#[derive(Debug)]
struct Binding {
    name: String,
    constraints: Constraints,
    params: Value,
    denies: bool,
    warns: bool,
    audits: bool,
    /// As they were written.
    actions: Value,
}

/// Which requests: rules, exceptions and selectors.
#[derive(Debug)]
struct Constraints {
    rules: Option<Rules>,
    except: Rules,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

impl Constraints {
    fn read(value: &Value) -> Constraints {
        let selector = |name: &str| match value.get(name).filter(|selector| !selector.is_null()) {
            Some(selector) => {
                LabelSelector::from_object(Some(selector)).unwrap_or_else(|_| LabelSelector::nothing())
            }
            None => LabelSelector::everything(),
        };
        let rules = value["resourceRules"].as_array().filter(|rules| !rules.is_empty());
        Constraints {
            rules: rules.map(|_| Rules::read(&value["resourceRules"])),
            except: Rules::read(&value["excludeResourceRules"]),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    fn fit(&self, server: &Server, attributes: &Attributes<'_>, object: &Value) -> bool {
        let subresource = attributes.request.info.subresource.as_str();
        let named = |rules: &Rules| {
            rules.fit(attributes.operation, attributes.kind, subresource, &attributes.request.info.name)
        };
        if self.rules.as_ref().is_some_and(|rules| !named(rules)) || named(&self.except) {
            return false;
        }
        super::webhooks::selects(&self.namespaces, &self.objects, server, attributes, object)
    }
}

fn compiled(source: &Value, of: &Type<'_>) -> Option<Program> {
    let names = NAMES.map(|name| (name, Type::Dyn));
    Program::compile(source.as_str()?, &names, of).ok()
}

impl Policy {
    fn read(policy: &Value, bindings: &[Value]) -> Policy {
        let spec = &policy["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
        let name = text(&policy["metadata"]["name"]);
        let validation = |one: &Value| Validation {
            text: text(&one["expression"]),
            program: compiled(&one["expression"], &Type::Bool),
            message: text(&one["message"]),
            message_program: compiled(&one["messageExpression"], &Type::Text),
            reason: text(&one["reason"]),
        };
        let variable = |one: &Value| Some((text(&one["name"]), compiled(&one["expression"], &Type::Dyn)?));
        let annotation =
            |one: &Value| Some((text(&one["key"]), compiled(&one["valueExpression"], &Type::Dyn)?));
        let bound = bindings.iter().filter(|binding| binding["spec"]["policyName"] == name.as_str());
        Policy {
            constraints: Constraints::read(&spec["matchConstraints"]),
            conditions: list("matchConditions")
                .iter()
                .filter_map(|one| compiled(&one["expression"], &Type::Bool))
                .collect(),
            variables: list("variables").iter().filter_map(variable).collect(),
            validations: list("validations").iter().map(validation).collect(),
            annotations: list("auditAnnotations").iter().filter_map(annotation).collect(),
            mutations: list("mutations").iter().map(Mutation::read).collect(),
            ignores: spec["failurePolicy"] == "Ignore",
            params: spec["paramKind"]
                .is_object()
                .then(|| (text(&spec["paramKind"]["apiVersion"]), text(&spec["paramKind"]["kind"]))),
            bindings: bound.map(Binding::read).collect(),
            name,
        }
    }
}

impl Binding {
    fn read(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let acts = |action: &str| {
            spec["validationActions"].as_array().is_some_and(|all| all.iter().any(|one| one == action))
        };
        Binding {
            name: binding["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            constraints: Constraints::read(&spec["matchResources"]),
            params: spec["paramRef"].clone(),
            denies: acts("Deny"),
            warns: acts("Warn"),
            audits: acts("Audit"),
            actions: spec["validationActions"].clone(),
        }
    }
}

impl Policies {
    fn validating(&self, server: &Server) -> Arc<Vec<Policy>> {
        let resources = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Policies::get(&self.validating, server, resources)
    }

    fn mutating(&self, server: &Server) -> Arc<Vec<Policy>> {
        let resources = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Policies::get(&self.mutating, server, resources)
    }

    fn get(kept: &Mutex<Kept>, server: &Server, resources: (&str, &str)) -> Arc<Vec<Policy>> {
        let caches = (server.caches.named(GROUP, resources.0), server.caches.named(GROUP, resources.1));
        let (Some(policies), Some(bindings)) = caches else { return Arc::default() };
        let latest = (*policies.latest().borrow(), *bindings.latest().borrow());
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != latest {
            let bound: Vec<Value> = bindings.list("").0.iter().map(|object| object.value()).collect();
            let read =
                policies.list("").0.iter().map(|object| Policy::read(&object.value(), &bound)).collect();
            *kept = (latest, Arc::new(read));
        }
        kept.1.clone()
    }
}

/// The namespace of the object that a request is about.
fn namespace_of(server: &Server, attributes: &Attributes<'_>) -> Value {
    if !attributes.kind.namespaced {
        return Value::Null;
    }
    let namespaces = server.caches.named("", "namespaces");
    let found = namespaces.and_then(|all| all.get(&attributes.request.info.namespace));
    found.map_or(Value::Null, |namespace| namespace.value())
}

/// Checks a request against every policy, and tells the audit.
pub(super) fn validate(server: &Server, attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let policies = server.policies.validating(server);
    if policies.is_empty() || attributes.kind.group == GROUP {
        return Ok(());
    }
    let mut failures = Vec::new();
    let checked = check(server, attributes, object, &policies, &mut failures);
    if !failures.is_empty() {
        attributes.request.trail.annotate(FAILURES, || Value::Array(failures).to_string());
    }
    checked
}

fn check(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
    policies: &[Policy],
    failures: &mut Vec<Value>,
) -> Result<(), Status> {
    let (request, namespace) = (request_of(attributes, object), namespace_of(server, attributes));
    let authorizer = authorizer(server, attributes);
    let null = Value::Null;
    let old = attributes.old.unwrap_or(&null);
    for policy in policies.iter().filter(|policy| policy.constraints.fit(server, attributes, object)) {
        for binding in
            policy.bindings.iter().filter(|binding| binding.constraints.fit(server, attributes, object))
        {
            let failed = Failed { position: 0, reason: String::new(), message: String::new() };
            let params = match params(server, attributes, policy, binding) {
                Ok(params) => params,
                Err(message) => {
                    act(attributes, policy, binding, object, &Failed { message, ..failed }, failures)?;
                    continue;
                }
            };
            for params in params {
                let names = [
                    ("object", Cel::of(object, None)),
                    ("oldObject", Cel::of(old, None)),
                    ("request", Cel::of(&request, None)),
                    ("params", Cel::of(&params, None)),
                    ("namespaceObject", Cel::of(&namespace, None)),
                    ("authorizer", authorizer.clone()),
                ];
                for failed in judge(attributes, policy, names.to_vec()) {
                    act(attributes, policy, binding, object, &failed, failures)?;
                }
            }
        }
    }
    Ok(())
}

/// A validation that did not hold.
struct Failed {
    position: usize,
    message: String,
    reason: String,
}

/// The names with `variables`; none where a condition says that the policy is not about this. The error is what a
/// condition failed with.
fn prepare<'a>(
    policy: &'a Policy,
    mut names: Vec<(&'a str, Cel<'a>)>,
    budget: &mut Budget,
) -> Result<Option<Vec<(&'a str, Cel<'a>)>>, String> {
    let mut error = None;
    for condition in &policy.conditions {
        match condition.holds(&names, budget) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) => error = Some(why),
        }
    }
    if let Some(why) = error {
        return Err(why.to_string());
    }
    // What has no value is missing where it is used, and only there.
    let mut variables: Vec<(Cel<'a>, Cel<'a>)> = Vec::new();
    for (name, program) in &policy.variables {
        let mut known = names.clone();
        known.push(("variables", Cel::Map(Arc::new(variables.clone()))));
        if let Ok(value) = program.run(&known, budget) {
            variables.push((Cel::text(name), value));
        }
    }
    names.push(("variables", Cel::Map(Arc::new(variables))));
    Ok(Some(names))
}

/// What a policy says against a request. Its annotations go to the audit.
fn judge<'a>(attributes: &Attributes<'_>, policy: &'a Policy, names: Vec<(&'a str, Cel<'a>)>) -> Vec<Failed> {
    let mut budget = Budget::new(cel::OBJECT_LIMIT);
    let failed = |position: usize, message: String| {
        let failed = Failed { position, message, reason: String::new() };
        if policy.ignores { Vec::new() } else { vec![failed] }
    };
    let names = match prepare(policy, names, &mut budget) {
        Ok(Some(names)) => names,
        Ok(None) => return Vec::new(),
        Err(why) => return failed(0, why),
    };
    let mut said = Vec::new();
    for (position, validation) in policy.validations.iter().enumerate() {
        let Some(program) = &validation.program else { continue };
        match program.holds(&names, &mut budget) {
            Ok(true) => {}
            Ok(false) => {
                let message = message_of(validation, &names, &mut budget);
                said.push(Failed { position, message, reason: validation.reason.clone() });
            }
            Err(why) => {
                said.extend(failed(
                    position,
                    format!("expression '{}' resulted in error: {why}", validation.text),
                ));
            }
        }
    }
    for (key, program) in &policy.annotations {
        match program.run(&names, &mut budget) {
            Ok(Cel::Text(text)) if !text.trim().is_empty() => {
                let key = format!("{}/{key}", policy.name);
                attributes.request.trail.annotate(&key, || text.trim().chars().take(10 << 10).collect());
            }
            Ok(_) => {}
            Err(why) => said.extend(failed(0, format!("failed to evaluate audit annotation '{key}': {why}"))),
        }
    }
    said
}

fn message_of<'a>(validation: &Validation, names: &[(&str, Cel<'a>)], budget: &mut Budget) -> String {
    let made = validation.message_program.as_ref().map(|program| program.run(names, budget));
    match made {
        Some(Ok(Cel::Text(text))) if !text.trim().is_empty() && !text.contains('\n') => {
            text.trim().to_owned()
        }
        _ if !validation.message.trim().is_empty() => validation.message.trim().to_owned(),
        _ => format!("failed expression: {}", validation.text.trim()),
    }
}

/// The parameters of a binding; one null where it has none.
fn params(
    server: &Server,
    attributes: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Value>, String> {
    let Some((api_version, kind)) = &policy.params else { return Ok(vec![Value::Null]) };
    let wanted = &binding.params;
    if wanted.is_null() {
        return Ok(vec![Value::Null]);
    }
    let (group, version) = api::kind::split_api_version(api_version)?;
    let row = server.registry.current().by_kind(group, version, kind);
    let row = row.ok_or_else(|| format!("failed to configure policy: failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"))?;
    let cache = server.caches.of(row).ok_or("params have no storage")?;
    let text = |name: &str| wanted[name].as_str().unwrap_or_default();
    let namespace = match (row.namespaced, text("namespace")) {
        (false, _) => "",
        (true, "") => attributes.request.info.namespace.as_str(),
        (true, named) => named,
    };
    let found: Vec<Value> = match text("name") {
        "" => {
            let selector =
                LabelSelector::from_object(wanted.get("selector")).map_err(|error| error.to_string())?;
            let all = cache.list(namespace).0;
            all.iter()
                .filter(|object| selector.matches(&object.labels))
                .map(|object| object.value())
                .collect()
        }
        name => {
            let key = if row.namespaced { format!("{namespace}/{name}") } else { name.to_owned() };
            cache.get(&key).iter().map(|object| object.value()).collect()
        }
    };
    if found.is_empty() && text("parameterNotFoundAction") != "Allow" {
        return Err("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

/// Denies, warns or tells the audit, as the binding says.
fn act(
    attributes: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    object: &Value,
    failed: &Failed,
    failures: &mut Vec<Value>,
) -> Result<(), Status> {
    let Failed { position, message, reason } = failed;
    let (policy, bound) = (&policy.name, &binding.name);
    if binding.audits {
        failures.push(json!({"message": message, "policy": policy, "binding": bound,
            "expressionIndex": position.to_string(), "validationActions": binding.actions}));
    }
    if binding.warns {
        let warning = format!("Validation failed for {POLICY} '{policy}' with binding '{bound}': {message}");
        attributes.request.warn(warning);
    }
    if !binding.denies {
        return Ok(());
    }
    let sentence = format!("{POLICY} '{policy}' with binding '{bound}' denied request: {message}");
    let name = match (super::name_of(object), attributes.operation) {
        ("", _) | (_, Operation::Delete) => attributes.request.info.name.as_str(),
        (name, _) => name,
    };
    let mut status = Status::forbidden(attributes.kind.qualified_resource(), name, &sentence);
    (status.reason, status.code) = match reason.as_str() {
        "Forbidden" => (Reason::Forbidden, 403),
        "Unauthorized" => (Reason::Unauthorized, 401),
        "RequestEntityTooLarge" => (Reason::RequestEntityTooLarge, 413),
        _ => (Reason::Invalid, 422),
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { reason: String::new(), message: sentence, field: String::new() });
    }
    Err(status)
}
