//! A container's environment: envFrom, then env, then what Services add, in upstream's order.
//!
//! Fetching comes first and decides nothing; [`build`] is pure. A name that is set again keeps its first place and
//! gets the later value, and `$(NAME)` sees what is set before it, or a Service.
//!
//! Not here: `$(NAME)` in command and args, which `container_config` expands over the finished environment.
//!
//! Reference: core/v1 EnvVar, EnvFromSource.

pub mod expansion;
pub mod field_ref;
pub mod resource_ref;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{EventKind, Object};
use serde_json::Value;

use crate::facts::NodeFacts;
use crate::pod::{Addresses, Container, Pod};
use crate::volumes::Volumes;
use crate::volumes::objects::{Kind, ObjectError, bytes_of};

/// Why there is no environment: the container waits with `CreateContainerConfigError` and this message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct EnvironmentError(pub String);

/// What the variables come from, as fetched.
#[derive(Default)]
struct Sources {
    objects: BTreeMap<(Kind, String), Result<Arc<Object>, ObjectError>>,
    /// Of the cluster; those that do not concern the pod are left out later.
    services: Vec<Arc<Object>>,
}

/// A finished environment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Built {
    variables: Vec<(String, String)>,
    /// Sentences about keys that are no names of variables.
    skipped: Vec<String>,
}

/// Names and values in order; asks [`Volumes`] for ConfigMaps, Secrets and Services.
pub async fn of(
    pod: &Pod,
    container: &Container,
    addresses: &Addresses,
    node: &NodeFacts,
    volumes: &Volumes,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let Some(services) = volumes.services().await else {
        return Err(wrong("services have not yet been read at least once, cannot construct envvars"));
    };
    let mut sources = Sources { services, ..Default::default() };
    for (kind, name) in references(container) {
        let found = volumes.object(pod, kind, &name).await;
        sources.objects.insert((kind, name), found);
    }
    let built = build(pod, container, addresses, node, &sources)?;
    for sentence in built.skipped {
        volumes.events().record(
            pod.reference(),
            EventKind::Warning,
            "InvalidEnvironmentVariableNames",
            sentence,
        );
    }
    Ok(built.variables)
}

/// The ConfigMaps and Secrets that a container's environment is made from.
pub fn references(container: &Container) -> BTreeSet<(Kind, String)> {
    let list = |field: &str| container.value[field].as_array().into_iter().flatten();
    let from = list("envFrom")
        .flat_map(|from| [(Kind::ConfigMap, &from["configMapRef"]), (Kind::Secret, &from["secretRef"])]);
    let single = list("env").flat_map(|variable| {
        let from = &variable["valueFrom"];
        [(Kind::ConfigMap, &from["configMapKeyRef"]), (Kind::Secret, &from["secretKeyRef"])]
    });
    from.chain(single)
        .filter_map(|(kind, reference)| Some((kind, reference["name"].as_str()?.to_owned())))
        .collect()
}

fn build(
    pod: &Pod,
    container: &Container,
    addresses: &Addresses,
    node: &NodeFacts,
    sources: &Sources,
) -> Result<Built, EnvironmentError> {
    let links = pod.spec()["enableServiceLinks"] != false;
    let services = services::variables(
        sources.services.iter().map(|service| service.value()),
        &pod.key.namespace,
        links,
    );
    let mut builder = Builder { pod, container, addresses, node, sources, services, built: Built::default() };
    let list = |field: &str| container.value[field].as_array().into_iter().flatten();
    for from in list("envFrom") {
        builder.whole(from)?;
    }
    for variable in list("env") {
        builder.single(variable)?;
    }
    let Builder { services, mut built, .. } = builder;
    for (name, value) in services {
        if !built.variables.iter().any(|(known, _)| *known == name) {
            built.variables.push((name, value));
        }
    }
    Ok(built)
}

struct Builder<'a> {
    pod: &'a Pod,
    container: &'a Container,
    addresses: &'a Addresses,
    node: &'a NodeFacts,
    sources: &'a Sources,
    services: Vec<(String, String)>,
    built: Built,
}

impl Builder<'_> {
    /// One of `envFrom`.
    fn whole(&mut self, from: &Value) -> Result<(), EnvironmentError> {
        let (kind, reference) = match (&from["configMapRef"], &from["secretRef"]) {
            (reference @ Value::Object(_), _) => (Kind::ConfigMap, reference),
            (_, reference @ Value::Object(_)) => (Kind::Secret, reference),
            _ => return Ok(()),
        };
        let Some(object) = self.object(kind, reference)? else { return Ok(()) };
        let prefix = from["prefix"].as_str().unwrap_or_default();
        let mut skipped = Vec::new();
        for key in keys(&object) {
            let name = format!("{prefix}{key}");
            if !is_name(&name) {
                skipped.push(name);
                continue;
            }
            if let Some(value) = self.entry(kind, &object, key)? {
                self.set(name, value);
            }
        }
        if !skipped.is_empty() {
            skipped.sort();
            let word = if kind == Kind::ConfigMap { "configMap" } else { "secret" };
            self.built.skipped.push(format!(
                "Keys [{}] from the EnvFrom {word} {}/{} were skipped since they are considered invalid environment variable names.",
                skipped.join(", "),
                self.pod.key.namespace,
                object.key.name,
            ));
        }
        Ok(())
    }

    /// One of `env`.
    fn single(&mut self, variable: &Value) -> Result<(), EnvironmentError> {
        let name = variable["name"].as_str().unwrap_or_default();
        let text = variable["value"].as_str().unwrap_or_default();
        let value = if text.is_empty() {
            match self.value_from(&variable["valueFrom"])? {
                Some(value) => value,
                None => return Ok(()),
            }
        } else {
            expansion::expand(text, |name| self.known(name))
        };
        self.set(name.to_owned(), value);
        Ok(())
    }

    /// None: an optional source that is not there, so the variable is not either.
    fn value_from(&self, from: &Value) -> Result<Option<String>, EnvironmentError> {
        let Some((source, reference)) = from.as_object().and_then(|sources| sources.iter().next()) else {
            return Ok(Some(String::new()));
        };
        match source.as_str() {
            "fieldRef" => {
                let path = reference["fieldPath"].as_str().unwrap_or_default();
                field_ref::value(path, self.pod, self.addresses, self.node)
                    .map(Some)
                    .map_err(EnvironmentError)
            }
            "resourceFieldRef" => resource_ref::value(reference, self.pod, Some(self.container), self.node)
                .map(Some)
                .map_err(EnvironmentError),
            "configMapKeyRef" => self.key(Kind::ConfigMap, reference),
            "secretKeyRef" => self.key(Kind::Secret, reference),
            other => Err(wrong(format!("valueFrom.{other} is not supported by this kubelet"))),
        }
    }

    fn key(&self, kind: Kind, reference: &Value) -> Result<Option<String>, EnvironmentError> {
        let Some(object) = self.object(kind, reference)? else { return Ok(None) };
        let key = reference["key"].as_str().unwrap_or_default();
        let found = self.entry(kind, &object, key)?;
        if found.is_none() && reference["optional"] != true {
            let (kind, namespace) = (kind.resource().kind, &self.pod.key.namespace);
            return Err(wrong(format!("couldn't find key {key} in {kind} {namespace}/{}", object.key.name)));
        }
        Ok(found)
    }

    /// None: not there, and optional.
    fn object(&self, kind: Kind, reference: &Value) -> Result<Option<Arc<Object>>, EnvironmentError> {
        let name = reference["name"].as_str().unwrap_or_default();
        match self.sources.objects.get(&(kind, name.to_owned())) {
            Some(Ok(object)) => Ok(Some(object.clone())),
            Some(Err(ObjectError::NotFound { .. })) | None if reference["optional"] == true => Ok(None),
            Some(Err(error)) => Err(wrong(error.to_string())),
            None => Err(wrong(ObjectError::NotFound { kind, name: name.to_owned() }.to_string())),
        }
    }

    fn entry(&self, kind: Kind, object: &Object, key: &str) -> Result<Option<String>, EnvironmentError> {
        let Some(text) = object.value()["data"][key].as_str() else { return Ok(None) };
        if kind == Kind::ConfigMap {
            return Ok(Some(text.to_owned()));
        }
        let unusable = |why: &str| {
            let (kind, namespace) = (kind.resource().kind, &self.pod.key.namespace);
            wrong(format!("key {key} in {kind} {namespace}/{} {why}", object.key.name))
        };
        let bytes = bytes_of(text).ok_or_else(|| unusable("is not base64"))?;
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| unusable("is not UTF-8: it cannot be a variable's value"))
    }

    /// What `$(NAME)` becomes.
    fn known(&self, name: &str) -> String {
        let set = self.built.variables.iter().chain(&self.services).find(|(known, _)| known == name);
        set.map_or_else(|| format!("$({name})"), |(_, value)| value.clone())
    }

    fn set(&mut self, name: String, value: String) {
        match self.built.variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.built.variables.push((name, value)),
        }
    }
}

fn keys(object: &Object) -> Vec<&str> {
    let mut keys: Vec<&str> =
        object.value()["data"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys
}

/// Printable ASCII without `=` (KEP-4369).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
}

fn wrong(message: impl Into<String>) -> EnvironmentError {
    EnvironmentError(message.into())
}
