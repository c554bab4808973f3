//! Type checking of a ValidatingAdmissionPolicy: what its expressions would complain about if they knew what they are about.
//!
//! ```text
//!   policy ─► [resources] ─► (discovery: kinds) ─► (OpenAPI v3) ─► [described] ─► [warnings] ─► status.typeChecking
//! ```
//!
//! A policy is compiled without types when it is written, because what it matches may come later. Here the kinds are known, so a
//! misspelt field is found. Nothing is refused by it: warnings are all that comes of it.
//!
//! **Invariant.** The work grows with the size of the policy and of its kinds, not with the product of expressions and variables: who writes
//! policies, or serves an aggregated document, is not trusted with more.
//!
//! Reference: Kubernetes "Validating Admission Policy", Type checking; apiserver `validating/typechecking.go` by behaviour.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::cel::{self, Type};
use crate::field::Path;
use crate::structural::{self, Structural};
use crate::validation::fields::{Fields as _, items};

/// Of so many kinds a policy's expressions are checked.
pub const MOST_KINDS: usize = 10;

/// Types within types that are kept of a variable.
const MOST_NESTED: usize = 32;
/// References of a schema that are followed; what lies behind further ones may be anything. A Deployment has some hundred.
const MOST_REFERENCES: usize = 20_000;

/// A group, a version and a resource in it.
pub type Named = (String, String, String);

/// A kind with what its objects look like.
#[derive(Debug)]
pub struct Described {
    /// As warnings name it: `apps/v1, Kind=Deployment`.
    pub name: String,
    pub schema: Structural,
}

/// A complaint about one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// `spec.validations[0].expression`
    pub field: String,
    pub text: String,
}

/// The resources that a policy names. Rules with a wildcard for groups or versions name none, and subresources are left out.
pub fn resources(policy: &Value) -> Vec<Named> {
    let mut found = BTreeSet::new();
    for rule in policy["spec"]["matchConstraints"].list("resourceRules") {
        let list = |name: &str| rule.texts(name).collect::<Vec<_>>();
        let (groups, versions) = (list("apiGroups"), list("apiVersions"));
        if groups.iter().chain(&versions).any(|text| text.contains('*')) {
            continue;
        }
        let plain = rule.texts("resources").filter(|name| !name.contains(['*', '/']));
        for resource in plain {
            for group in &groups {
                found.extend(
                    versions
                        .iter()
                        .map(|version| (group.to_string(), version.to_string(), resource.to_owned())),
                );
            }
        }
    }
    found.into_iter().collect()
}

/// A kind as an OpenAPI v3 document describes it.
pub fn described(document: &Value, group: &str, version: &str, kind: &str) -> Option<Described> {
    let own = json!({"group": group, "version": version, "kind": kind});
    let schemas = document["components"]["schemas"].as_object()?;
    let schema =
        schemas.values().find(|schema| schema.list("x-kubernetes-group-version-kind").contains(&own))?;
    let mut left = MOST_REFERENCES;
    let whole = inlined(schema, &document["components"]["schemas"], &mut Vec::new(), &mut left);
    let name = format!("{group}/{version}, Kind={kind}");
    Some(Described { name, schema: structural::read(&whole) })
}

/// What the expressions of a policy complain about, for kinds that it matches and the kind of its parameters.
pub fn warnings(policy: &Value, kinds: &[Described], params: Option<&Described>) -> Vec<Warning> {
    let spec = &policy["spec"];
    let known: Vec<_> = kinds.iter().map(|kind| (kind, names(spec, kind, params))).collect();
    let mut out = Vec::new();
    for (path, validation) in items(spec, "validations", &Path::new("spec")) {
        for field in ["expression", "messageExpression"] {
            let source = validation.text(field);
            if source.is_empty() {
                continue;
            }
            let complaint = |(kind, names): &(&Described, Names<'_>)| {
                let error = cel::type_of(source, names).err()?;
                Some(format!("{}: {error}\n", kind.name))
            };
            let complaints: Vec<String> = known.iter().filter_map(complaint).collect();
            if !complaints.is_empty() {
                out.push(Warning { field: path.child(field).to_string(), text: complaints.join("\n") });
            }
        }
    }
    out
}

type Names<'k> = Vec<(&'static str, Type<'k>)>;

/// What an expression may name where the object is of a kind.
fn names<'k>(spec: &Value, kind: &'k Described, params: Option<&'k Described>) -> Names<'k> {
    let object = || Type::of(&kind.schema, false);
    let mut names = vec![
        ("object", object()),
        ("oldObject", object()),
        ("request", Type::of(&REQUEST, false)),
        ("namespaceObject", Type::of(&NAMESPACE, false)),
        ("authorizer", Type::Dyn),
    ];
    names.extend(params.map(|params| ("params", Type::of(&params.schema, false))));
    // Each sees those before it; one that has no type may be anything, and is complained about where it is used otherwise.
    let mut variables: Rc<BTreeMap<String, Type<'k>>> = Rc::default();
    for variable in spec.list("variables") {
        names.push(("variables", Type::Fields(variables.clone())));
        let of = cel::type_of(variable.text("expression"), &names).ok();
        names.pop();
        let of = of.filter(|of| !of.is_nested(MOST_NESTED)).unwrap_or(Type::Dyn);
        Rc::make_mut(&mut variables).insert(variable.text("name").to_owned(), of);
    }
    names.push(("variables", Type::Fields(variables)));
    names
}

/// A schema with what it refers to in its place. What contains itself ends where it begins again: there it may be anything.
fn inlined<'d>(schema: &'d Value, schemas: &'d Value, within: &mut Vec<&'d str>, left: &mut usize) -> Value {
    let refers = |schema: &'d Value| schema.text("$ref").rsplit('/').next().filter(|name| !name.is_empty());
    // A reference that has a description of its own is written as the only one of `allOf`.
    let referred = refers(schema).or_else(|| match schema.list("allOf") {
        [only] => refers(only),
        _ => None,
    });
    if let Some(name) = referred {
        if within.contains(&name) || *left == 0 {
            return json!({"x-kubernetes-preserve-unknown-fields": true});
        }
        *left -= 1;
        within.push(name);
        let found = inlined(&schemas[name], schemas, within, left);
        within.pop();
        return found;
    }
    let mut out = schema.clone();
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            out["properties"][name] = inlined(property, schemas, within, left);
        }
    }
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            out[name] = inlined(&schema[name], schemas, within, left);
        }
    }
    out
}

/// What `request` is.
static REQUEST: LazyLock<Structural> = LazyLock::new(|| {
    let (text, texts) = (json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}}));
    let named =
        |last: &str| json!({"type": "object", "properties": {"group": text, "version": text, last: text}});
    structural::read(&json!({"type": "object", "properties": {
        "kind": named("kind"),
        "resource": named("resource"),
        "subResource": text,
        "requestKind": named("kind"),
        "requestResource": named("resource"),
        "requestSubResource": text,
        "name": text,
        "namespace": text,
        "operation": text,
        "userInfo": {"type": "object", "properties": {
            "username": text,
            "uid": text,
            "groups": texts,
            "extra": {"type": "object", "additionalProperties": texts},
        }},
        "dryRun": {"type": "boolean"},
        "options": {},
    }}))
});

/// What `namespaceObject` is.
static NAMESPACE: LazyLock<Structural> = LazyLock::new(|| {
    let (text, texts) = (json!({"type": "string"}), json!({"type": "array", "items": {"type": "string"}}));
    let (map, number) = (json!({"type": "object", "additionalProperties": text}), json!({"type": "integer"}));
    let time = json!({"type": "string", "format": "date-time"});
    structural::read(&json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "name": text,
            "generateName": text,
            "namespace": text,
            "labels": map,
            "annotations": map,
            "UID": text,
            "creationTimestamp": time,
            "deletionGracePeriodSeconds": number,
            "deletionTimestamp": time,
            "generation": number,
            "resourceVersion": text,
            "finalizers": texts,
        }},
        "spec": {"type": "object", "properties": {"finalizers": texts}},
        "status": {"type": "object", "properties": {"phase": text}},
    }}))
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Registry;
    use crate::openapi;

    fn known(group: &str, version: &str, kind: &str) -> Described {
        let document = openapi::v3(&Registry::builtin(), group, version, "v1.36.0").expect("a document");
        described(&document, group, version, kind).expect("a kind")
    }

    fn policy(variables: &Value, expression: &str) -> Value {
        json!({"spec": {"variables": variables, "validations": [{"expression": expression}]}})
    }

    #[test]
    fn a_misspelt_field_is_found_where_it_stands() {
        let kinds = [known("apps", "v1", "Deployment")];
        let found = |expression: &str| warnings(&policy(&json!([]), expression), &kinds, None);
        let wrong = found("object.replicas > 1");
        let text = "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n";
        assert_eq!(wrong, [Warning { field: "spec.validations[0].expression".into(), text: text.into() }]);
        for right in [
            "object.spec.replicas > 1",
            "object.metadata.labels['a'] == 'b' && oldObject.metadata.name.startsWith('x')",
            "object.spec.template.spec.containers.all(c, c.image.contains('/') && c.resources.limits['cpu'] == '1')",
            "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '1'",
            "object.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')",
            "request.userInfo.groups.exists(g, g == 'x') && request.kind.group == '' && request.dryRun",
            "request.options.anything.at.all == 1",
            "namespaceObject.metadata.labels['a'] == 'b' && namespaceObject.status.phase == 'Active'",
            "authorizer.group('').resource('pods').check('get').allowed()",
            "has(object.spec.paused) && object.spec.template.metadata.annotations.size() > 0",
        ] {
            assert_eq!(found(right), [], "{right}");
        }
        for (wrong, why) in [
            (
                "object.spec.replicas > 'one'",
                "found no matching overload for '_>_' applied to '(int, string)'",
            ),
            ("object.spec.template.spec.containers.all(c, c.imag == '')", "undefined field 'imag'"),
            ("request.userInfo.user == ''", "undefined field 'user'"),
            ("namespaceObject.metadata.uid == ''", "undefined field 'uid'"),
            ("params.x == 1", "undeclared reference to 'params'"),
            ("object.metadata.creationTimestamp.startsWith('2')", "found no matching overload"),
        ] {
            let found = found(wrong);
            assert!(found.len() == 1 && found[0].text.contains(why), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn variables_have_the_types_of_their_expressions() {
        let kinds = [known("apps", "v1", "Deployment"), known("", "v1", "Pod")];
        let variables = json!([
            {"name": "count", "expression": "object.spec.replicas"},
            {"name": "twice", "expression": "variables.count * 2"},
        ]);
        let found = warnings(&policy(&variables, "variables.twice > 'a' || variables.other"), &kinds, None);
        // A pod has no replicas, so what depends on them may be anything there; the variable that is none is found in both.
        let [one] = found.as_slice() else { panic!("{found:?}") };
        let (first, second) = one.text.split_once("\n\n").expect("two kinds");
        assert!(
            first.starts_with("apps/v1, Kind=Deployment: ") && first.contains("'(int, string)'"),
            "{first}"
        );
        assert!(
            second.starts_with("/v1, Kind=Pod: ") && second.contains("undefined field 'other'"),
            "{second}"
        );
        assert_eq!(warnings(&policy(&variables, "variables.twice > 3"), &kinds[..1], None), []);
    }

    #[test]
    fn parameters_and_messages_are_checked() {
        let kinds = [known("apps", "v1", "Deployment")];
        let params = known("", "v1", "ConfigMap");
        let policy = json!({"spec": {"validations": [
            {"expression": "params.data.most == '1'", "messageExpression": "'at most ' + params.dat.most"},
        ]}});
        let found = warnings(&policy, &kinds, Some(&params));
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(one.field, "spec.validations[0].messageExpression");
        assert!(one.text.contains("undefined field 'dat'"), "{found:?}");
    }

    #[test]
    fn what_contains_itself_ends() {
        let definitions = [known("apiextensions.k8s.io", "v1", "CustomResourceDefinition")];
        let deep = "object.spec.versions[0].schema.openAPIV3Schema";
        let found =
            |below: &str| warnings(&policy(&json!([]), &format!("{deep}.{below}")), &definitions, None);
        assert_eq!(found("items.items.anything == 1"), []);
        assert_eq!(found("wrong == 1").len(), 1);
    }

    #[test]
    fn many_and_nested_variables_cost_no_more_than_their_size() {
        let kinds = [known("apps", "v1", "Deployment")];
        let before = |number: usize| match number {
            0 => "1".to_owned(),
            number => format!("variables.v{}", number - 1),
        };
        for shape in ["[BEFORE]", "variables", "{'a': [variables]}", "optional.of(BEFORE)", "BEFORE"] {
            let variable = |number: usize| json!({"name": format!("v{number}"), "expression": shape.replace("BEFORE", &before(number))});
            let variables = Value::Array((0..20_000).map(variable).collect());
            let found =
                warnings(&policy(&variables, "variables.none || [variables.v19999] == []"), &kinds, None);
            let [one] = found.as_slice() else { panic!("{shape}: {found:?}") };
            assert!(one.text.contains("undefined field 'none'"), "{shape}: {found:?}");
        }
    }

    #[test]
    fn documents_of_others_are_followed_so_far_and_no_farther() {
        let twice = |next: usize| {
            let reference = json!({"$ref": format!("#/components/schemas/s{next}")});
            json!({"type": "object", "properties": {"a": reference, "b": reference}})
        };
        let mut schemas: Value = (0..64).map(|number| (format!("s{number}"), twice(number + 1))).collect();
        schemas["s0"]["x-kubernetes-group-version-kind"] =
            json!([{"group": "x", "version": "v1", "kind": "T"}]);
        let kind = described(&json!({"components": {"schemas": schemas}}), "x", "v1", "T").expect("a kind");
        let is_wrong = |expression: &str| {
            cel::type_of(expression, &[("object", Type::of(&kind.schema, false))]).is_err()
        };
        assert_eq!((is_wrong("object.a.a.c == 1"), is_wrong("object.b.b.b.anything == 1")), (true, false));
    }

    #[test]
    fn resources_are_those_without_wildcards() {
        let rule = |groups: &[&str], versions: &[&str], resources: &[&str]| json!({"apiGroups": groups, "apiVersions": versions, "resources": resources});
        let policy = json!({"spec": {"matchConstraints": {"resourceRules": [
            rule(&["apps", ""], &["v1"], &["pods", "pods/exec", "deployments", "*"]),
            rule(&["*"], &["v1"], &["services"]),
            rule(&["batch"], &["*"], &["jobs"]),
        ]}}});
        let named = |group: &str, resource: &str| (group.to_owned(), "v1".to_owned(), resource.to_owned());
        let wanted = [
            named("", "deployments"),
            named("", "pods"),
            named("apps", "deployments"),
            named("apps", "pods"),
        ];
        assert_eq!(resources(&policy), wanted);
    }
}
