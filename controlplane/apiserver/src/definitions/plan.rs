//! What is to be done about one definition. Pure.

use api::definition::{self, CLEANUP_FINALIZER};
use serde_json::Value;

/// What is there besides the definition.
pub(super) struct Observed<'a> {
    /// The accepted names of the group's other definitions.
    pub others: Vec<&'a Value>,
    /// How many objects it has.
    pub objects: usize,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Makes rows and caches.
    Install,
    /// Says that the resources are served, once they are.
    Establish,
    /// Begins the end of its objects.
    Expel,
    /// Writes the definition so.
    Write(Value),
    /// It goes.
    Remove,
}

/// The steps for a definition.
pub(super) fn plan(definition: &Value, observed: &Observed<'_>, now: &str) -> Vec<Step> {
    if definition["metadata"]["deletionTimestamp"].is_string() {
        return ending(definition, observed, now);
    }
    let settled = definition::settled(definition, &observed.others, now);
    if settled != *definition {
        // The next round sees what was written.
        return vec![Step::Write(settled)];
    }
    if definition::is_established(definition) {
        vec![Step::Install]
    } else if definition::is_true(definition, "NamesAccepted") {
        vec![Step::Install, Step::Establish]
    } else {
        Vec::new()
    }
}

fn ending(definition: &Value, observed: &Observed<'_>, now: &str) -> Vec<Step> {
    let finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let mut steps = Vec::new();
    // After a restart its objects have to be found before they can go.
    if definition::is_established(definition) {
        steps.push(Step::Install);
    }
    if !finalizers.iter().any(|name| name == CLEANUP_FINALIZER) {
        return steps;
    }
    if observed.objects > 0 || (definition::is_established(definition) && !is_in_progress(definition)) {
        if !is_in_progress(definition) {
            let mut changed = definition.clone();
            let why = "CustomResource deletion is in progress";
            definition::terminating(&mut changed, true, "InstanceDeletionInProgress", why, now);
            steps.push(Step::Write(changed));
        }
        steps.push(Step::Expel);
        return steps;
    }
    if finalizers.len() == 1 {
        steps.push(Step::Remove);
        return steps;
    }
    let mut changed = definition.clone();
    definition::terminating(&mut changed, false, "InstanceDeletionCompleted", "removed all instances", now);
    let rest: Vec<Value> = finalizers.into_iter().filter(|name| name != CLEANUP_FINALIZER).collect();
    changed["metadata"]["finalizers"] = rest.into();
    steps.push(Step::Write(changed));
    steps
}

fn is_in_progress(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["reason"] == "InstanceDeletionInProgress")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn definition() -> Value {
        let mut definition = json!({"metadata": {"name": "as.x.io"}, "spec": {"group": "x.io", "scope": "Cluster",
            "names": {"plural": "as", "kind": "A", "singular": "a", "listKind": "AList", "shortNames": ["aa"]},
            "versions": [{"name": "v1", "served": true, "storage": true}]}});
        api::definition::note_storage_version(&mut definition);
        definition
    }

    fn observed(others: Vec<&Value>, objects: usize) -> Observed<'_> {
        Observed { others, objects }
    }

    #[test]
    fn a_definition_is_settled_then_served_then_established_and_then_left_alone() {
        let steps = plan(&definition(), &observed(vec![], 0), NOW);
        let [Step::Write(settled)] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(settled["status"]["acceptedNames"], settled["spec"]["names"]);
        assert_eq!(settled["status"]["conditions"][1]["reason"], "Installing");
        assert_eq!(plan(settled, &observed(vec![], 0), NOW), [Step::Install, Step::Establish]);
        let established = definition::established(settled, NOW);
        assert_eq!(plan(&established, &observed(vec![], 0), NOW), [Step::Install]);
    }

    #[test]
    fn a_taken_name_is_refused_until_it_is_free() {
        let other = json!({"status": {"acceptedNames": {"plural": "bs", "kind": "B", "shortNames": ["aa"]}}});
        let steps = plan(&definition(), &observed(vec![&other], 0), NOW);
        let [Step::Write(refused)] = &steps[..] else { panic!("{steps:?}") };
        let condition = &refused["status"]["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("ShortNamesConflict"))
        );
        assert_eq!(condition["message"], "\"aa\" is already in use");
        assert_eq!(
            plan(refused, &observed(vec![&other], 0), NOW),
            [],
            "nothing changes while the other is there"
        );
        let steps = plan(refused, &observed(vec![], 0), NOW);
        let [Step::Write(settled)] = &steps[..] else { panic!("{steps:?}") };
        assert!(definition::is_true(settled, "NamesAccepted"));
    }

    #[test]
    fn its_objects_go_before_it_goes() {
        let mut ending = definition::established(&definition::settled(&definition(), &[], NOW), NOW);
        ending["metadata"]["deletionTimestamp"] = NOW.into();
        ending["metadata"]["finalizers"] = json!([CLEANUP_FINALIZER]);
        let steps = plan(&ending, &observed(vec![], 1), NOW);
        let [Step::Install, Step::Write(said), Step::Expel] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(plan(said, &observed(vec![], 1), NOW), [Step::Install, Step::Expel]);
        assert_eq!(plan(said, &observed(vec![], 0), NOW), [Step::Install, Step::Remove]);
    }
}
