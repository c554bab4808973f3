//! The versions of a kind: whoever wrote in one of them owns its fields, not those of another.
//!
//! Versions that have the same fields are looked at as one. Conversion is the caller's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compare::{self, Changes};
use super::field_set::FieldSet;
use super::managers::Managers;
use super::place::Of;
use super::{Writer, merge};

/// The other versions of the kind that is written.
pub trait Versions {
    /// Whether there is such a version of the kind: what was written in one that is no more belongs to nobody.
    fn is_known(&self, api_version: &str) -> bool;
    /// The same object in another version, and what it is of there; nothing where it is of the same fields.
    fn shown(&self, api_version: &str, object: &Value) -> Option<(Value, Of<'_>)>;
    /// An object of another version in the one that is written.
    fn taken(&self, object: Value) -> Value;
}

/// All versions have the same fields.
#[derive(Clone, Copy, Debug)]
pub struct Alike;

impl Versions for Alike {
    fn is_known(&self, _: &str) -> bool {
        true
    }

    fn shown(&self, _: &str, _: &Value) -> Option<(Value, Of<'_>)> {
        None
    }

    fn taken(&self, object: Value) -> Value {
        object
    }
}

/// What is written, as what, by whom, beside which versions.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub of: Of<'a>,
    pub writer: Writer<'a>,
    pub versions: &'a dyn Versions,
}

/// What a write has changed, in each version in which somebody owns fields.
pub(super) struct ByVersion {
    own: Changes,
    others: BTreeMap<String, Changes>,
}

impl ByVersion {
    /// Compares; `counted` says which fields can be owned at all.
    pub(super) fn of(
        old: &Value,
        new: &Value,
        written: Written<'_>,
        managers: &Managers,
        counted: impl Fn(FieldSet) -> FieldSet,
    ) -> ByVersion {
        let filtered = |mut changes: Changes| {
            changes.set = counted(changes.set);
            changes
        };
        let own = filtered(compare::changes(old, new, written.of.place()));
        let mut others = BTreeMap::new();
        for version in written.others(managers) {
            let (old, new) = (written.versions.shown(&version, old), written.versions.shown(&version, new));
            if let (Some((old, of)), Some((new, _))) = (old, new) {
                others.insert(version, filtered(compare::changes(&old, &new, of.place())));
            }
        }
        ByVersion { own, others }
    }

    /// What is new or other in a version.
    pub(super) fn set(&self, api_version: &str) -> &FieldSet {
        &self.others.get(api_version).unwrap_or(&self.own).set
    }

    /// What is gone from a version.
    pub(super) fn gone(&self, api_version: &str) -> &FieldSet {
        &self.others.get(api_version).unwrap_or(&self.own).gone
    }
}

impl Written<'_> {
    /// The other versions in which somebody owns fields.
    fn others(self, managers: &Managers) -> Vec<String> {
        let all = managers.versions().into_iter();
        all.filter(|version| version != self.writer.api_version).collect()
    }

    fn differs(self, api_version: &str, object: &Value) -> bool {
        api_version != self.writer.api_version && self.versions.shown(api_version, object).is_some()
    }

    /// The merged object without what its applier owned, in the version it wrote in then, and nobody wants any more.
    pub(super) fn pruned(self, merged: Value, last: (&str, &FieldSet), managers: &Managers) -> Value {
        let (last_version, last) = last;
        if last.is_empty() {
            return merged;
        }
        // Asked once for each version: there may be many managers, and it converts the object.
        let other: BTreeSet<String> =
            managers.versions().into_iter().filter(|version| self.differs(version, &merged)).collect();
        let own = managers.union(|version| !other.contains(version));
        let mut left = match self.versions.shown(last_version, &merged) {
            Some((shown, of)) if last_version != self.writer.api_version => {
                let owned = managers.union(|version| version == last_version);
                self.versions.taken(merge::pruned(shown, of.place(), last, &owned))
            }
            _ => merge::pruned(merged.clone(), self.of.place(), last, &own),
        };
        // What somebody owns in another version stays.
        for version in self.others(managers).into_iter().filter(|version| version != last_version) {
            let (all, rest) = (self.versions.shown(&version, &merged), self.versions.shown(&version, &left));
            let (Some((all, of)), Some((rest, _))) = (all, rest) else { continue };
            let owned = managers.union(|other| other == version);
            left = self.versions.taken(back(all, &rest, of, &owned));
        }
        if other.contains(last_version) || self.differs(last_version, &merged) {
            back(merged, &left, self.of, &own)
        } else {
            left
        }
    }
}

/// What is left of an object, with what is owned of what is not.
fn back(all: Value, rest: &Value, of: Of<'_>, owned: &FieldSet) -> Value {
    let lost = FieldSet::of(&all, of.place()).minus(&FieldSet::of(rest, of.place()));
    merge::pruned(all, of.place(), &lost, owned)
}
