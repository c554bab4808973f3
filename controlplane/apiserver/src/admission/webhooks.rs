//! Admission webhooks: mutating ones in turn, then validating ones at once.
//!
//! ```text
//!   configurations (by name) ─► which concern this request ─► mutating: ask, patch, ask again ─► validating: ask all
//! ```
//!
//! Configurations are read when they change, not per request: without any, a write pays two looks at a number.
//! Not here: how a webhook is reached (`webhook`), what a rule means (`rules`), what is asked (`review`).
//!
//! Reference: Kubernetes "Dynamic Admission Control"; `apiserver/pkg/admission/plugin/webhook` 1.36, by behaviour.

mod review;
mod rules;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::cel::{self, Budget, Program};
use api::kind::Kind;
use api::selector::LabelSelector;
use api::status::Status;
use api::wire::{BodyOf, PatchType};
use futures::future::join_all;
use serde_json::{Value, json};
use store::Revision;

use super::authorizer::authorizer;
use super::{Attributes, Operation};
use crate::cache::KindCache;
use crate::conversion;
use crate::server::Server;
use crate::webhook;
pub(super) use rules::Rules;

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
/// Validating webhooks asked at once.
const AT_ONCE: usize = 16;

/// A webhook as its configuration has it.
#[derive(Debug)]
pub(super) struct Hook {
    name: String,
    /// The object that it is in.
    configuration: String,
    config: Value,
    /// Of the reviews that it takes.
    version: &'static str,
    rules: Rules,
    namespaces: LabelSelector,
    objects: LabelSelector,
    conditions: Vec<Program>,
    /// `failurePolicy` is Ignore.
    ignores: bool,
    equivalent: bool,
    again: bool,
    dry_runs: bool,
    timeout: Duration,
}

/// All webhooks of one kind of configuration, as of a revision.
#[derive(Debug, Default)]
pub struct Hooks {
    mutating: Kept,
    validating: Kept,
}

/// What a webhook is asked about.
struct Question<'a> {
    server: &'a Server,
    attributes: &'a Attributes<'a>,
    /// In whose form.
    kind: &'static Kind,
    object: &'a Value,
    /// What the audit calls it.
    at: String,
}

#[derive(Debug, Default)]
struct Kept(Mutex<(Revision, Arc<Vec<Hook>>)>);

impl Kept {
    fn get(&self, cache: Option<Arc<KindCache>>) -> Arc<Vec<Hook>> {
        let Some(cache) = cache else { return Arc::default() };
        let latest = *cache.latest().borrow();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.0 != latest {
            let configurations = cache.list("").0;
            let hooks = configurations.iter().flat_map(|object| {
                let configuration = object.value();
                let hooks = configuration["webhooks"].as_array().cloned().unwrap_or_default();
                hooks.into_iter().map(|hook| Hook::read(hook, object.name())).collect::<Vec<_>>()
            });
            *kept = (latest, Arc::new(hooks.collect()));
        }
        kept.1.clone()
    }
}

impl Hook {
    fn read(hook: Value, configuration: &str) -> Hook {
        let text = |name: &str| hook[name].as_str().unwrap_or_default();
        // A selector that is wrong was refused; what is there anyway selects everything.
        let selector = |name: &str| LabelSelector::from_object(hook.get(name)).ok();
        let names = [
            ("object", cel::Type::Dyn),
            ("oldObject", cel::Type::Dyn),
            ("request", cel::Type::Dyn),
            ("authorizer", cel::Type::Dyn),
        ];
        let conditions = hook["matchConditions"].as_array().into_iter().flatten();
        let conditions = conditions
            .filter_map(|one| Program::compile(one["expression"].as_str()?, &names, &cel::Type::Bool).ok())
            .collect();
        Hook {
            name: text("name").to_owned(),
            configuration: configuration.to_owned(),
            version: review::version(&hook),
            rules: Rules::read(&hook["rules"]),
            namespaces: selector("namespaceSelector").unwrap_or_else(LabelSelector::everything),
            objects: selector("objectSelector").unwrap_or_else(LabelSelector::everything),
            conditions,
            ignores: text("failurePolicy") == "Ignore",
            equivalent: text("matchPolicy") != "Exact",
            again: text("reinvocationPolicy") == "IfNeeded",
            dry_runs: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)),
            config: hook["clientConfig"].clone(),
        }
    }

    /// The kind in whose form the webhook is asked; none where it is not concerned.
    fn concerns(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
        object: &Value,
    ) -> Result<Option<&'static Kind>, Status> {
        let Some(kind) = self.asked_as(server, attributes) else { return Ok(None) };
        if !selects(&self.namespaces, &self.objects, server, attributes, object) {
            return Ok(None);
        }
        if self.conditions.is_empty() {
            return Ok(Some(kind));
        }
        let request = review::request(attributes, kind, object, "");
        let old = attributes.old.cloned().unwrap_or(Value::Null);
        let names = [
            ("object", cel::Value::of(object, None)),
            ("oldObject", cel::Value::of(&old, None)),
            ("request", cel::Value::of(&request, None)),
            ("authorizer", authorizer(server, attributes)),
        ];
        let mut budget = Budget::new(cel::OBJECT_LIMIT);
        let mut failed = None;
        for condition in &self.conditions {
            match condition.holds(&names, &mut budget) {
                Ok(true) => {}
                // One that is false decides, whatever became of the others.
                Ok(false) => return Ok(None),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => Ok(Some(kind)),
            Some(_) if self.ignores => Ok(None),
            Some(error) => Err(Status::forbidden(
                attributes.kind.qualified_resource(),
                name_of(attributes, object),
                error,
            )),
        }
    }

    fn asked_as(&self, server: &Server, attributes: &Attributes<'_>) -> Option<&'static Kind> {
        let subresource = attributes.request.info.subresource.as_str();
        let fits = |kind: &Kind| {
            self.rules.fit(attributes.operation, kind, subresource, &attributes.request.info.name)
        };
        if fits(attributes.kind) {
            return Some(attributes.kind);
        }
        if !self.equivalent {
            return None;
        }
        let registry = server.registry.current();
        let storage = attributes.kind.storage;
        registry.kinds().find(|kind| storage.is_some() && kind.storage == storage && fits(kind))
    }

    /// Asks; the patch, where there is one. A failure of the webhook itself counts as its policy says.
    async fn ask(&self, question: &Question<'_>) -> Result<Option<Value>, Status> {
        let &Question { server, attributes, kind, object, ref at } = question;
        if attributes.dry_run && !self.dry_runs {
            return Err(Status::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                self.name
            )));
        }
        let uid = server.uid();
        let old = attributes.old.unwrap_or(&Value::Null);
        let (now, old) = match attributes.subobject() {
            Some(_) => (object.clone(), old.clone()),
            None => (
                conversion::between(server, attributes.kind, kind, object).await?,
                conversion::between(server, attributes.kind, kind, old).await?,
            ),
        };
        let body = review::review(attributes, kind, now, old, &uid, self.version);
        let failed = |why: String| match self.ignores {
            true => {
                tracing::warn!(
                    webhook = self.name,
                    error = why,
                    "failed open: the webhook's failure is ignored"
                );
                attributes.request.trail.annotate(&format!("failed-open.{at}"), || self.name.clone());
                Ok(None)
            }
            false => Err(Status::internal(format!("failed calling webhook {:?}: {why}", self.name))),
        };
        let answer = match webhook::call(server, &self.config, self.timeout, &body).await {
            Ok(answer) => answer,
            Err(error) => return failed(format!("failed to call webhook: {error}")),
        };
        let said = match review::answer(&answer, &uid, self.version) {
            Ok(said) => said,
            Err(why) => return failed(why),
        };
        review::warnings(&answer).for_each(|warning| attributes.request.warn(warning.to_owned()));
        for (key, value) in review::annotations(&answer) {
            attributes.request.trail.annotate(&format!("{}/{key}", self.name), || value.to_owned());
        }
        match said {
            review::Answer::Allowed { patch } => Ok(patch),
            review::Answer::Denied { status } => Err(review::denied(&self.name, &status)),
        }
    }
}

impl Hook {
    /// Asks a mutating webhook; what it makes of the object, where that is another.
    async fn change(&self, question: &Question<'_>) -> Result<Option<Value>, Status> {
        let Some(patch) = self.ask(question).await? else { return Ok(None) };
        let patched = patched(question, &patch).await?;
        let patched = patched
            .map_err(|why| Status::internal(format!("failed calling webhook {:?}: {why}", self.name)))?;
        Ok((patched != *question.object).then_some(patched))
    }

    /// What the audit says of what it did.
    fn mutation(&self, mutated: bool) -> String {
        json!({"configuration": self.configuration, "webhook": self.name, "mutated": mutated}).to_string()
    }
}

fn name_of<'a>(attributes: &'a Attributes<'_>, object: &'a Value) -> &'a str {
    match super::name_of(object) {
        "" => &attributes.request.info.name,
        name => name,
    }
}

/// Whether selectors of namespaces and objects take a request.
pub(super) fn selects(
    namespaces: &LabelSelector,
    objects: &LabelSelector,
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
) -> bool {
    let labels = |object: &Value| -> BTreeMap<String, String> {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    if !objects.is_everything() {
        let new = !object.is_null() && objects.matches(&labels(object));
        let old = attributes.old.is_some_and(|old| objects.matches(&labels(old)));
        if !new && !old {
            return false;
        }
    }
    if namespaces.is_everything() {
        return true;
    }
    if attributes.kind.group.is_empty() && attributes.kind.resource == "namespaces" {
        let namespace = if object.is_null() { attributes.old.unwrap_or(object) } else { object };
        return namespaces.matches(&labels(namespace));
    }
    if !attributes.kind.namespaced {
        return true;
    }
    let cache = server.caches.named("", "namespaces");
    let namespace = cache.and_then(|cache| cache.get(&attributes.request.info.namespace));
    namespace.is_some_and(|namespace| namespaces.matches(&namespace.labels))
}

/// A request as expressions see it.
pub(super) fn request_of(attributes: &Attributes<'_>, object: &Value) -> Value {
    review::request(attributes, attributes.kind, object, "")
}

/// Whether webhooks are asked about a kind at all: not about their own configuration, or nobody could mend it.
fn concerned(attributes: &Attributes<'_>) -> bool {
    attributes.kind.group != GROUP
}

/// What the mutating webhooks make of an object.
pub(super) async fn mutate(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> Result<(), Status> {
    let cache = server.caches.named(GROUP, "mutatingwebhookconfigurations");
    let hooks = server.hooks.mutating.get(cache);
    if hooks.is_empty() || !concerned(attributes) {
        return Ok(());
    }
    // Asked again once: those that want to see what others changed after them.
    let mut changed_after: Vec<bool> = vec![false; hooks.len()];
    for round in 0..2 {
        for (at, hook) in hooks.iter().enumerate() {
            if round == 1 && !(hook.again && changed_after[at]) {
                continue;
            }
            let Some(kind) = hook.concerns(server, attributes, object)? else { continue };
            let place = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{at}");
            let question = Question { server, attributes, kind, object, at: place };
            let changed = hook.change(&question).await;
            // Told of each that was asked, whatever it answered.
            let mutated = matches!(changed, Ok(Some(_)));
            attributes.request.trail.annotate(&question.at, || hook.mutation(mutated));
            if let Some(changed) = changed? {
                changed_after[..at].iter_mut().for_each(|changed| *changed = true);
                *object = changed;
            }
        }
    }
    Ok(())
}

/// The object with a JSON patch, which was made for the form of `kind`, in its canonical form; why the patch is none.
async fn patched(question: &Question<'_>, patch: &Value) -> Result<Result<Value, String>, Status> {
    let Question { server, attributes, kind, object, .. } = *question;
    if attributes.operation == Operation::Delete {
        return Ok(Err("a delete has nothing to patch".into()));
    }
    // What a stream was asked for is not carried on in another form.
    if attributes.operation == Operation::Connect {
        return Ok(Ok(object.clone()));
    }
    let subobject = attributes.subobject();
    let form = match subobject {
        Some(_) => object.clone(),
        None => conversion::between(server, attributes.kind, kind, object).await?,
    };
    let wanted = subobject.map_or_else(|| BodyOf::from(kind), BodyOf::from);
    let (patch, ignore) = (patch.to_string(), api::path::FieldValidation::Ignore);
    let patched = match api::patch::apply(PatchType::Json, &form, patch.as_bytes(), wanted, ignore) {
        Ok(patched) => patched.object,
        Err(status) => return Ok(Err(status.message)),
    };
    if subobject.is_some() {
        return Ok(Ok(patched));
    }
    let mut object = conversion::between(server, kind, attributes.kind, &patched).await?;
    api::defaulting::apply(attributes.kind, &mut object);
    Ok(Ok(object))
}

/// Asks the validating webhooks.
pub(super) async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), Status> {
    let cache = server.caches.named(GROUP, "validatingwebhookconfigurations");
    let hooks = server.hooks.validating.get(cache);
    if hooks.is_empty() || !concerned(attributes) {
        return Ok(());
    }
    let mut asked = Vec::new();
    for (at, hook) in hooks.iter().enumerate() {
        if let Some(kind) = hook.concerns(server, attributes, object)? {
            let at = format!("validating.webhook.admission.k8s.io/round_0_index_{at}");
            asked.push((hook, Question { server, attributes, kind, object, at }));
        }
    }
    for some in asked.chunks(AT_ONCE) {
        for answer in join_all(some.iter().map(|(hook, question)| hook.ask(question))).await {
            answer?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_audit_says_is_json_whatever_the_names() {
        let hook = Hook::read(json!({"name": "a\u{7f}\u{301}\""}), "c\u{200b}");
        let said: Value = serde_json::from_str(&hook.mutation(false)).unwrap();
        let expect = json!({"configuration": "c\u{200b}", "webhook": "a\u{7f}\u{301}\"", "mutated": false});
        assert_eq!(said, expect);
    }
}
