//! What to do about a Deployment's ReplicaSets. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::replicas::{is_rolling, of_current, wanted};
use super::template::{HASH, hash, is_current};
use super::{progress, revision, rolling, scaling, status};
use crate::fields::{controller_reference, int, is_deleting, map, text};
use client::Resource;

pub(super) struct Observed {
    /// Its ReplicaSets.
    pub sets: Vec<Value>,
    /// Pods of old templates run; asked for `Recreate` only.
    pub old_pods_run: bool,
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Create the ReplicaSet of the current template.
    Create {
        set: Value,
        replicas: i64,
    },
    /// Replace a ReplicaSet; with its sizes where that is an event worth.
    Update {
        set: Value,
        scaled: Option<(i64, i64)>,
    },
    /// An old one beyond the history limit.
    Delete {
        name: String,
        uid: String,
    },
    /// The Deployment's own revision annotation.
    Revision(String),
    Status(Value),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub look_again: Option<Duration>,
}

/// The sets while the plan is made: `current` is the newest template's, `old` the others', oldest first.
struct Draft<'a> {
    deployment: &'a Value,
    current: Option<Value>,
    old: Vec<Value>,
    steps: Vec<Step>,
    now: Timestamp,
    created: bool,
}

pub(super) fn plan(deployment: &Value, observed: &Observed) -> Plan {
    let mut sets = observed.sets.clone();
    sets.sort_by(|a, b| age(a).cmp(&age(b)));
    let at = sets.iter().position(|set| is_current(deployment, set));
    let current = at.map(|at| sets.remove(at));
    let mut draft =
        Draft { deployment, current, old: sets, steps: vec![], now: observed.now, created: false };
    let paused = deployment["spec"]["paused"] == true;
    if is_deleting(deployment) {
        return draft.finish(false);
    }
    let all: Vec<Value> = draft.old.iter().chain(&draft.current).cloned().collect();
    if paused || scaling::is_due(deployment, &all) {
        draft.sync_revision();
        draft.scale();
        if paused {
            draft.clean_up();
        }
        return draft.finish(false);
    }
    let moved = if is_rolling(deployment) { draft.roll() } else { draft.recreate(observed.old_pods_run) };
    if !moved {
        let numbers = status::calculate(deployment, draft.current.as_ref(), &draft.old, draft.now);
        if progress::is_complete(deployment, &numbers) {
            draft.clean_up();
        }
    }
    draft.finish(true)
}

fn age(set: &Value) -> (&str, &str) {
    (text(set, "/metadata/creationTimestamp"), text(set, "/metadata/name"))
}

impl Draft<'_> {
    /// Surge, then give up old pods as new ones become available. Whether anything moved.
    fn roll(&mut self) -> bool {
        if self.ensure_current() {
            return true;
        }
        let all: Vec<Value> = self.old.iter().chain(&self.current).cloned().collect();
        let size = self.current.as_ref().map_or(0, |set| int(set, "/spec/replicas"));
        let wanted = wanted(self.deployment);
        // More than wanted: the Deployment became smaller while something else scaled the set.
        let target = if size > wanted { wanted } else { of_current(self.deployment, &all, size) };
        if self.resize_current(target) {
            return true;
        }
        let sizes = rolling::scale_down(self.deployment, self.current.as_ref(), &self.old);
        self.resize_old(&sizes)
    }

    /// All old pods go before the first new one comes. Whether anything moved.
    fn recreate(&mut self, old_pods_run: bool) -> bool {
        if self.current.is_some() {
            self.sync_revision();
        }
        let none = vec![0; self.old.len()];
        if self.resize_old(&none) || old_pods_run {
            return true;
        }
        self.ensure_current() || self.resize_current(wanted(self.deployment))
    }

    /// Whether the current set had to be created.
    fn ensure_current(&mut self) -> bool {
        if self.current.is_some() {
            self.sync_revision();
            return false;
        }
        let size = of_current(self.deployment, &self.old, 0);
        let revision = revision::next(&self.old);
        let set = new_set(self.deployment, size, revision);
        self.steps.push(Step::Create { set: set.clone(), replicas: size });
        self.note_revision(&set);
        self.current = Some(set);
        self.created = true;
        true
    }

    /// Revision and annotations of the current set, and the Deployment's revision.
    fn sync_revision(&mut self) {
        let Some(current) = self.current.take() else { return };
        let revision = revision::next(&self.old);
        let current = match revision::annotated(self.deployment, &current, revision) {
            Some(set) => {
                self.put(set.clone(), None);
                set
            }
            None => current,
        };
        self.note_revision(&current);
        self.current = Some(current);
    }

    fn note_revision(&mut self, set: &Value) {
        let wanted = revision::annotation(set, revision::REVISION).unwrap_or_default();
        if revision::annotation(self.deployment, revision::REVISION) != Some(wanted) {
            self.steps.push(Step::Revision(wanted.to_owned()));
        }
    }

    fn scale(&mut self) {
        let mut sets = self.old.clone();
        let at = self.current.as_ref().map(|current| {
            sets.push(current.clone());
            sets.len() - 1
        });
        for (index, size) in scaling::sizes(self.deployment, &sets, at) {
            if at == Some(index) {
                self.resize_current(size);
            } else {
                let old = self.old[index].clone();
                self.old[index] = self.resize(old, size);
            }
        }
    }

    fn resize_current(&mut self, size: i64) -> bool {
        let Some(current) = self.current.take() else { return false };
        let before = int(&current, "/spec/replicas");
        self.current = Some(if before == size { current } else { self.resize(current, size) });
        before != size
    }

    fn resize_old(&mut self, sizes: &[i64]) -> bool {
        let mut moved = false;
        for (index, size) in sizes.iter().enumerate() {
            if int(&self.old[index], "/spec/replicas") != *size {
                let old = self.old[index].clone();
                self.old[index] = self.resize(old, *size);
                moved = true;
            }
        }
        moved
    }

    /// The set with another size and the sizes noted.
    fn resize(&mut self, mut set: Value, size: i64) -> Value {
        let before = int(&set, "/spec/replicas");
        let mut annotations = map(&set, "/metadata/annotations").cloned().unwrap_or_default();
        for (name, value) in revision::sizes(self.deployment) {
            annotations.insert(name.into(), value.into());
        }
        let noted = map(&set, "/metadata/annotations") == Some(&annotations);
        if before == size && noted {
            return set;
        }
        set["metadata"]["annotations"] = json!(annotations);
        set["spec"]["replicas"] = size.into();
        self.put(set.clone(), (before != size).then_some((before, size)));
        set
    }

    /// One update per set: a later one replaces an earlier.
    fn put(&mut self, set: Value, scaled: Option<(i64, i64)>) {
        let name = text(&set, "/metadata/name").to_owned();
        for step in &mut self.steps {
            if let Step::Update { set: known, scaled: sizes } = step
                && text(known, "/metadata/name") == name
            {
                *known = set;
                *sizes = match (*sizes, scaled) {
                    (Some((from, _)), Some((_, to))) => Some((from, to)),
                    (known, fresh) => fresh.or(known),
                };
                return;
            }
        }
        self.steps.push(Step::Update { set, scaled });
    }

    /// Old sets beyond the history limit, lowest revision first, if nothing of them is left.
    fn clean_up(&mut self) {
        let Some(limit) = self.deployment.pointer("/spec/revisionHistoryLimit").and_then(Value::as_i64)
        else {
            return;
        };
        let mut old: Vec<&Value> = self.old.iter().filter(|set| !is_deleting(set)).collect();
        old.sort_by_key(|set| (revision::of(set), age(set)));
        let many = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        let idle = |set: &&&Value| {
            int(set, "/spec/replicas") == 0
                && int(set, "/status/replicas") == 0
                && int(set, "/status/terminatingReplicas") == 0
                && int(set, "/metadata/generation") <= int(set, "/status/observedGeneration")
        };
        let gone = old.iter().take(many).filter(idle).map(|set| Step::Delete {
            name: text(set, "/metadata/name").to_owned(),
            uid: text(set, "/metadata/uid").to_owned(),
        });
        let gone: Vec<Step> = gone.collect();
        self.steps.extend(gone);
    }

    fn finish(mut self, rollout: bool) -> Plan {
        let mut fresh = status::calculate(self.deployment, self.current.as_ref(), &self.old, self.now);
        progress::paused(&mut fresh, self.deployment, self.now);
        if let Some(current) = &self.current {
            let name = text(current, "/metadata/name");
            progress::begun(&mut fresh, self.deployment, name, self.created, self.now);
        }
        let mut look_again = None;
        if rollout {
            let current = self.current.as_ref();
            look_again = progress::rollout(&mut fresh, self.deployment, current, &self.old, self.now);
        }
        if self.deployment.get("status") != Some(&fresh) {
            self.steps.push(Step::Status(fresh));
        }
        Plan { steps: self.steps, look_again }
    }
}

/// The ReplicaSet of the Deployment's template.
pub(super) fn new_set(deployment: &Value, replicas: i64, revision: i64) -> Value {
    let template = &deployment["spec"]["template"];
    let hash = hash(template, int(deployment, "/status/collisionCount"));
    let mut template = template.clone();
    template["metadata"]["labels"][HASH] = hash.as_str().into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.as_str().into();
    let sizes: Map<String, Value> =
        revision::sizes(deployment).into_iter().map(|(name, size)| (name.to_owned(), size.into())).collect();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{}-{hash}", text(deployment, "/metadata/name")),
            "namespace": text(deployment, "/metadata/namespace"),
            "labels": template["metadata"]["labels"],
            "annotations": sizes,
            "ownerReferences": [controller_reference(&Resource::DEPLOYMENTS, deployment)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    });
    revision::annotated(deployment, &set, revision).unwrap_or(set)
}

#[cfg(test)]
mod tests;
