//! `metadata.managedFields`: the owners of an object's fields.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Writer;
use super::field_set::FieldSet;
use super::versions::ByVersion;
use crate::field::quote;

/// Writers other than appliers that are kept apart; the eldest beyond them become [`ANCIENT`].
const MOST_UPDATERS: usize = 10;
/// Owns what the eldest writers owned.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// An owner and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<String>,
    pub set: FieldSet,
}

/// All owners of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managers(Vec<Manager>);

impl Manager {
    fn is(&self, operation: Operation, writer: Writer<'_>) -> bool {
        self.operation == operation
            && self.name == writer.manager
            && self.subresource == writer.subresource
            // An applier is the same in whatever version it applies.
            && (operation == Operation::Apply || self.api_version == writer.api_version)
    }

    fn read(entry: &Value) -> Result<Manager, String> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let operation = match entry["operation"].as_str() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => {
                return Err(format!(
                    "managedFields: operation {} is neither Apply nor Update",
                    entry["operation"]
                ));
            }
        };
        let set = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::read(fields)?,
        };
        Ok(Manager {
            name: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: entry["time"].as_str().map(str::to_owned),
            set,
        })
    }

    fn written(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("manager".into(), self.name.as_str().into());
        entry.insert("operation".into(), self.operation.text().into());
        entry.insert("apiVersion".into(), self.api_version.as_str().into());
        if let Some(time) = &self.time {
            entry.insert("time".into(), time.as_str().into());
        }
        entry.insert("fieldsType".into(), "FieldsV1".into());
        entry.insert("fieldsV1".into(), self.set.written());
        if !self.subresource.is_empty() {
            entry.insert("subresource".into(), self.subresource.as_str().into());
        }
        Value::Object(entry)
    }

    /// The manager in upstream's words.
    pub(super) fn shown(&self) -> String {
        let mut text = quote(&self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {}", quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text = format!("{text} using {}", self.api_version);
            if let Some(time) = &self.time {
                text = format!("{text} at {time}");
            }
        }
        text
    }
}

impl Managers {
    /// Those of an object.
    pub(super) fn of(object: &Value) -> Result<Managers, String> {
        let entries = object["metadata"]["managedFields"].as_array();
        entries.into_iter().flatten().map(Manager::read).collect::<Result<_, _>>().map(Managers)
    }

    /// Without those that wrote in a version that is no more.
    pub(super) fn of_known(mut self, is_known: impl Fn(&str) -> bool) -> Managers {
        self.0.retain(|manager| is_known(&manager.api_version));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, manager: Manager) {
        self.0.push(manager);
    }

    /// What a writer owns until now.
    pub(super) fn of_writer(&self, operation: Operation, writer: Writer<'_>) -> Option<&Manager> {
        self.0.iter().find(|manager| manager.is(operation, writer))
    }

    /// The versions in which somebody owns something.
    pub(super) fn versions(&self) -> BTreeSet<String> {
        self.0.iter().map(|manager| manager.api_version.clone()).collect()
    }

    /// Gives a writer these fields; its time stays where they are the ones it has.
    pub(super) fn put(&mut self, operation: Operation, writer: Writer<'_>, set: FieldSet) {
        match self.0.iter_mut().find(|manager| manager.is(operation, writer)) {
            Some(manager) if manager.set == set && manager.api_version == writer.api_version => {}
            Some(manager) => {
                writer.api_version.clone_into(&mut manager.api_version);
                manager.set = set;
                manager.time = Some(writer.now.to_owned());
            }
            None => self.0.push(Manager {
                name: writer.manager.to_owned(),
                operation,
                api_version: writer.api_version.to_owned(),
                subresource: writer.subresource.to_owned(),
                time: Some(writer.now.to_owned()),
                set,
            }),
        }
    }

    /// Every field that somebody owns in one of these versions.
    pub(super) fn union(&self, counts: impl Fn(&str) -> bool) -> FieldSet {
        let mut all = FieldSet::default();
        for manager in self.0.iter().filter(|manager| counts(&manager.api_version)) {
            all.add(&manager.set);
        }
        all
    }

    /// Others that own some of these fields, with those fields.
    pub(super) fn conflicts(
        &self,
        changes: &ByVersion,
        operation: Operation,
        writer: Writer<'_>,
    ) -> Vec<(&Manager, FieldSet)> {
        let others = self.0.iter().filter(|manager| !manager.is(operation, writer));
        others
            .map(|manager| (manager, manager.set.common(changes.set(&manager.api_version))))
            .filter(|(_, common)| !common.is_empty())
            .collect()
    }

    /// These fields are no other's any more.
    pub(super) fn take(&mut self, changes: &ByVersion, operation: Operation, writer: Writer<'_>) {
        for manager in self.0.iter_mut().filter(|manager| !manager.is(operation, writer)) {
            manager.set = manager.set.minus(changes.set(&manager.api_version));
        }
    }

    /// These fields are nobody's any more.
    pub(super) fn forget(&mut self, changes: &ByVersion) {
        for manager in &mut self.0 {
            manager.set = manager.set.minus(changes.gone(&manager.api_version));
        }
    }

    /// Keeps the number of writers in its bound.
    pub(super) fn bound(&mut self) {
        loop {
            let updaters =
                self.0.iter().enumerate().filter(|(_, manager)| manager.operation == Operation::Update);
            let mut eldest: Vec<(Option<String>, usize)> =
                updaters.map(|(at, manager)| (manager.time.clone(), at)).collect();
            if eldest.len() <= MOST_UPDATERS {
                return;
            }
            eldest.sort();
            let elder = self.0[eldest[0].1].clone();
            let younger = &mut self.0[eldest[1].1];
            younger.set.add(&elder.set);
            ANCIENT.clone_into(&mut younger.name);
            younger.subresource.clear();
            self.0.remove(eldest[0].1);
        }
    }

    /// The object with its owners written down.
    pub(super) fn written(mut self, mut object: Value) -> Value {
        self.0.retain(|manager| !manager.set.is_empty());
        self.0.sort_by(|a, b| {
            let key = |m: &Manager| (m.operation, m.time.clone(), m.name.clone(), m.subresource.clone());
            key(a).cmp(&key(b))
        });
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            if self.0.is_empty() {
                metadata.shift_remove("managedFields");
            } else {
                let entries = self.0.iter().map(Manager::written).collect();
                metadata.insert("managedFields".into(), Value::Array(entries));
            }
        }
        object
    }
}
