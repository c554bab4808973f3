//! ClusterRoles with an aggregationRule: their rules are those of the roles that it selects.
//!
//! Reference: upstream's pkg/controller/clusterroleaggregation.

use std::sync::Arc;

use api::selector::LabelSelector;
use client::{Cache, ClientError, Key, Object, Outcome, Resource, WorkQueue, work};
use serde_json::Value;

use crate::context::Context;
use crate::fields::list;

const NAME: &str = "clusterrole-aggregation-controller";

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let roles = context.caches.of(&Resource::CLUSTER_ROLES);
    roles.synced().await;
    let queue = WorkQueue::new();
    let (adding, all) = (queue.clone(), roles.clone());
    // Any role may be part of any that aggregates.
    roles.subscribe(move |_| aggregating(&all).into_iter().for_each(|key| adding.add(key)));
    work(NAME, queue, 1, move |key: Key| {
        let (client, roles) = (client.clone(), roles.clone());
        async move {
            let Some(role) = roles.get(&key) else { return Ok(Outcome::Done) };
            let Some(rules) = plan(role.value(), &roles.list("")) else { return Ok(Outcome::Done) };
            let mut fresh = role.value().clone();
            fresh["rules"] = rules;
            match client.update(&Resource::CLUSTER_ROLES, &fresh).await {
                Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Again),
                answer => answer.map(|_| Outcome::Done),
            }
        }
    })
    .await;
    Ok(())
}

fn aggregating(roles: &Cache) -> Vec<Key> {
    let all = roles.list("").into_iter();
    all.filter(|role| role.value()["aggregationRule"].is_object()).map(|role| role.key.clone()).collect()
}

/// The rules as they should be, if they are not.
fn plan(role: &Value, all: &[Arc<Object>]) -> Option<Value> {
    if !role["aggregationRule"].is_object() {
        return None;
    }
    let mut sorted: Vec<&Arc<Object>> =
        all.iter().filter(|other| other.key.name != role["metadata"]["name"]).collect();
    sorted.sort_by_key(|other| other.key.name.clone());
    let mut rules: Vec<Value> = Vec::new();
    for selector in list(role, "/aggregationRule/clusterRoleSelectors") {
        let Ok(selector) = LabelSelector::from_object(Some(selector)) else { continue };
        for other in &sorted {
            if other.meta().labels().is_some_and(|labels| selector.matches(labels)) {
                for rule in list(other.value(), "/rules") {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
    }
    (list(role, "/rules") != rules.as_slice()).then(|| rules.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_gathered() {
        let role = |name: &str, label: &str, rule: &str| {
            let role =
                json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": [{"verbs": [rule]}]});
            Arc::new(Object::of(&Resource::CLUSTER_ROLES, role))
        };
        let whole = |rules: Value| {
            json!({"metadata": {"name": "all"}, "rules": rules,
                "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}})
        };
        let parts = [role("b", "all", "list"), role("a", "all", "get"), role("c", "none", "watch")];
        let gathered = json!([{"verbs": ["get"]}, {"verbs": ["list"]}]);
        assert_eq!(plan(&whole(json!([])), &parts), Some(gathered.clone()));
        assert_eq!(plan(&whole(gathered), &parts), None);
        assert_eq!(plan(parts[0].value(), &parts), None);
    }
}
