//! A set of fields as a tree, and its form in `managedFields` (`FieldsV1`).
//!
//! ```text
//!   f:NAME            a field, or a key of a map
//!   k:{"name":"c"}    the item of a list with these keys
//!   v:"x"             a value of a set
//!   i:0               an item by its index (kept when somebody sent it, never made here)
//!   .                 the thing itself, where things below it are in the set too
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::place::{self, Place};

/// Fields, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<String, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    /// The fields of a value: leaves, items of lists, keys of maps, empty maps.
    pub(super) fn of(value: &Value, place: Place<'_>) -> FieldSet {
        let mut set = FieldSet::default();
        for (element, child, below) in place::children(value, place) {
            let inner = FieldSet::of(child, below);
            let empty = child.as_object().is_some_and(Map::is_empty);
            let member = place.has_items() || empty || !below.is_granular(child);
            let node = Node { member, below: inner };
            if !node.is_empty() {
                set.0.insert(element, node);
            }
        }
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Node::is_empty)
    }

    /// Whether the field itself is in it.
    pub(super) fn has(&self, element: &str) -> bool {
        self.0.get(element).is_some_and(|node| node.member)
    }

    /// What is in it below an element.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.0.get(element).map(|node| &node.below)
    }

    /// Whether the field or anything below it is in it.
    pub(super) fn touches(&self, element: &str) -> bool {
        self.0.get(element).is_some_and(|node| !node.is_empty())
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(first.clone()).or_default();
        match rest {
            [] => node.member = true,
            rest => node.below.insert(rest),
        }
    }

    pub(super) fn add(&mut self, other: &FieldSet) {
        for (element, theirs) in &other.0 {
            let node = self.0.entry(element.clone()).or_default();
            node.member |= theirs.member;
            node.below.add(&theirs.below);
        }
    }

    /// What is here and not there.
    pub(super) fn minus(&self, other: &FieldSet) -> FieldSet {
        self.combined(other, |ours, theirs| ours && !theirs)
    }

    /// What is here and there.
    pub(super) fn common(&self, other: &FieldSet) -> FieldSet {
        self.combined(other, |ours, theirs| ours && theirs)
    }

    fn combined(&self, other: &FieldSet, keep: fn(bool, bool) -> bool) -> FieldSet {
        let nothing = Node::default();
        let nodes = self.0.iter().map(|(element, ours)| {
            let theirs = other.0.get(element).unwrap_or(&nothing);
            let below = ours.below.combined(&theirs.below, keep);
            (element.clone(), Node { member: keep(ours.member, theirs.member), below })
        });
        FieldSet(nodes.filter(|(_, node)| !node.is_empty()).collect())
    }

    /// Takes out a field with all below it.
    pub(super) fn drop_below(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => drop(self.0.remove(*last)),
            [first, rest @ ..] => {
                if let Some(node) = self.0.get_mut(*first) {
                    node.below.drop_below(rest);
                }
            }
        }
        self.0.retain(|_, node| !node.is_empty());
    }

    /// Takes out a field, not what is below it.
    pub(super) fn drop_here(&mut self, element: &str) {
        if let Some(node) = self.0.get_mut(element) {
            node.member = false;
        }
        self.0.retain(|_, node| !node.is_empty());
    }

    /// Every field in it.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for (element, node) in &self.0 {
            if node.member {
                paths.push(vec![element.clone()]);
            }
            for below in node.below.paths() {
                paths.push([vec![element.clone()], below].concat());
            }
        }
        paths
    }

    /// `FieldsV1`.
    pub(super) fn written(&self) -> Value {
        let entries = self.0.iter().map(|(element, node)| {
            let mut inner = Map::new();
            if node.member && !node.below.is_empty() {
                inner.insert(".".into(), Value::Object(Map::new()));
            }
            if let Value::Object(below) = node.below.written() {
                inner.extend(below);
            }
            (element.clone(), Value::Object(inner))
        });
        Value::Object(entries.collect())
    }

    /// From `FieldsV1`.
    pub(super) fn read(value: &Value) -> Result<FieldSet, String> {
        let Value::Object(entries) = value else { return Err(format!("{value} is no set of fields")) };
        let mut set = FieldSet::default();
        for (element, inner) in entries.iter().filter(|(element, _)| *element != ".") {
            let element = place::read_element(element)?;
            let fields = inner.as_object().ok_or_else(|| format!("{inner} is no set of fields"))?;
            let below = FieldSet::read(inner)?;
            let member = fields.is_empty() || fields.contains_key(".");
            set.0.insert(element, Node { member, below });
        }
        Ok(set)
    }
}
