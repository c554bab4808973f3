//! `eviction`: a drain asks a pod to go; a PodDisruptionBudget may say not now.
//!
//! A pod that is over, not begun or on its way out disturbs nobody and goes at once. Otherwise the budget that
//! selects it gives one of its allowed disruptions, by compare-and-swap, before the pod is deleted.
//!
//! Reference: policy/v1 Eviction.

use api::kind::Kind;
use api::path::{CreateOptions, DeleteOptions};
use api::selector::LabelSelector;
use api::status::{Cause, Details, Status};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body;
use crate::registry::{self, Change, delete_one, object_key};
use crate::request::Request;
use crate::server::Server;

/// Pods that a budget keeps in mind as disrupted, at most: upstream's.
const MOST_DISRUPTED: usize = 2000;
/// How often a budget is read anew when somebody else was faster.
const MOST_TRIES: usize = 20;
const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Answers a create of `pods/NAME/eviction`.
pub async fn create(
    server: &Server,
    request: &Request,
    kind: &'static Kind,
    body: Bytes,
) -> Result<Answer, Status> {
    let options = CreateOptions::parse(&request.query)?;
    let (eviction, _) = body::object(request, kind, &body, options.field_validation)?;
    let (namespace, name) = (&request.info.namespace, &request.info.name);
    match eviction["metadata"]["name"].as_str().unwrap_or_default() {
        "" => {}
        given if given == name => {}
        _ => return Err(Status::bad_request("name in URL does not match name in Eviction object")),
    }
    // The dry run may be asked for in either place; nothing outside is told of one as of the other.
    let dry_run = options.dry_run || DeleteOptions::from_body(&eviction["deleteOptions"])?.dry_run;
    let eviction = server.admit_posted(request, kind, eviction, dry_run).await?;
    let mut delete = DeleteOptions::from_body(&eviction["deleteOptions"])?;
    delete.dry_run |= dry_run;
    let (_, pod) = registry::read(server, kind, &object_key(kind, namespace, name))?;
    let pod = pod.ok_or_else(|| Status::not_found(kind.qualified_resource(), name))?;
    if !disturbs_nobody(&pod) {
        ask_budget(server, request, &pod, delete.dry_run).await?;
    }
    delete_one(server, request, kind, namespace, name, &delete).await?;
    Ok(Answer::status(Status { code: 201, ..Status::success(None) }))
}

fn disturbs_nobody(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || pod["metadata"]["deletionTimestamp"].is_string()
}

/// Takes a disruption from the budget that selects the pod, if there is one.
async fn ask_budget(server: &Server, request: &Request, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let namespace = &request.info.namespace;
    let kind = server
        .registry
        .by_resource("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(Status::no_such_path)?;
    let (budgets, _) = server.cache(kind)?.list(namespace);
    let mut selecting = budgets.iter().filter(|budget| selects(&budget.value(), pod));
    let Some(budget) = selecting.next() else { return Ok(()) };
    if selecting.next().is_some() {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let key = object_key(kind, namespace, budget.name());
    for _ in 0..MOST_TRIES {
        let (revision, budget) = registry::read(server, kind, &key)?;
        let Some(budget) = budget else { return Ok(()) };
        let Some(lessened) = taken(&budget, pod, request.now)? else { return Ok(()) };
        if dry_run {
            return Ok(());
        }
        if registry::write(server, kind, &key, revision, &Change::Put(lessened)).await?.is_ok() {
            return Ok(());
        }
    }
    Err(refused(&budget.value(), "The disruption budget changes too often to be taken from.".into(), 1))
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let labels = pod["metadata"].get("labels");
    LabelSelector::from_object(budget["spec"].get("selector")).is_ok_and(|selector| selector.matches(&labels))
}

/// The budget with one disruption fewer; `None` where the pod may go without.
fn taken(budget: &Value, pod: &Value, now: jiff::Timestamp) -> Result<Option<Value>, Status> {
    let status = &budget["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    if !is_ready(pod) {
        let healthy = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
        if healthy || budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
            return Ok(None);
        }
    }
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(budget, why, 10));
    }
    if number("disruptionsAllowed") <= 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(refused(budget, why, 0));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() >= MOST_DISRUPTED) {
        let why = format!("The disruption budget {name} waits for too many disrupted pods to go.");
        return Err(refused(budget, why, 10));
    }
    let mut budget = budget.clone();
    budget["status"]["disruptionsAllowed"] = (number("disruptionsAllowed") - 1).into();
    if !budget["status"]["disruptedPods"].is_object() {
        budget["status"]["disruptedPods"] = json!({});
    }
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    budget["status"]["disruptedPods"][pod] = registry::meta::time(now);
    Ok(Some(budget))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn refused(_budget: &Value, message: String, retry_after_seconds: u32) -> Status {
    let mut status = Status::too_many_requests(VIOLATED, retry_after_seconds);
    let details = status.details.get_or_insert_with(|| Box::new(Details::default()));
    details.causes.push(Cause { reason: "DisruptionBudget".into(), message, field: String::new() });
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_it_has() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let ready = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let broken = json!({"metadata": {"name": "p"}, "status": {}});
        let budget = |allowed: i64, healthy: i64| {
            json!({"metadata": {"name": "b", "generation": 1}, "status": {"observedGeneration": 1,
            "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": healthy}})
        };
        let left = taken(&budget(1, 3), &ready, now).unwrap().unwrap();
        assert_eq!(left["status"]["disruptionsAllowed"], 0);
        assert_eq!(left["status"]["disruptedPods"], json!({"p": "1970-01-01T00:00:00Z"}));
        let refused = taken(&budget(0, 2), &ready, now).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (429, VIOLATED));
        let cause = &refused.details.unwrap().causes[0];
        assert_eq!(cause.message, "The disruption budget b needs 2 healthy pods and has 2 currently");
        assert!(taken(&budget(0, 2), &broken, now).unwrap().is_none(), "it is not one of the healthy ones");
        assert!(taken(&budget(0, 1), &broken, now).is_err());
        let mut fresh = budget(1, 3);
        fresh["metadata"]["generation"] = 2.into();
        assert_eq!(taken(&fresh, &ready, now).unwrap_err().code, 429);
    }
}
