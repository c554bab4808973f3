//! Namespaces on their way out: everything in them is deleted, then their finalizer goes.
//!
//! While something is left, the namespace's conditions say what it is and whose finalizers hold it (`remaining`).
//!
//! Reference: upstream's pkg/controller/namespace/deletion.

mod remaining;

use std::sync::Arc;
use std::time::Duration;

use client::{Cache, Client, ClientError, Key, Outcome, Resource, WorkQueue, work};
use serde_json::{Value, json};

use crate::context::Context;
use crate::discovery::{self, Served};
use crate::fields::{is_deleting, list, text};
use remaining::Remaining;

const NAME: &str = "namespace-controller";
const WORKERS: usize = 4;
const FINALIZER: &str = "kubernetes";
/// Objects that end by themselves, such as pods with a grace period, are looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Controller {
    client: Client,
    /// Discovery needs no right of its own, but the part's credential is there from the start.
    discovering: Client,
    namespaces: Cache,
}

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let controller = Arc::new(Controller {
        client: context.client_of(NAME)?,
        discovering: context.client.clone(),
        namespaces: context.caches.of(&Resource::NAMESPACES),
    });
    controller.namespaces.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    controller.namespaces.subscribe(move |change| {
        if change.after.is_some_and(|namespace| is_deleting(namespace.value())) {
            adding.add(change.key.clone());
        }
    });
    work(NAME, queue, WORKERS, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
    Ok(())
}

/// What is to be done with one kind's objects.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    DeleteCollection(Resource),
    DeleteEach(Resource),
}

/// One step per kind that can be deleted and lives in namespaces; pods last but for events, so that what makes
/// them is gone first.
fn plan(served: &[Served]) -> Vec<Step> {
    let mut kinds: Vec<&Served> = served
        .iter()
        .filter(|kind| kind.resource.namespaced && kind.can("delete") && kind.can("list"))
        .collect();
    kinds.sort_by_key(|kind| match &*kind.resource.plural {
        "events" => 2,
        "pods" => 1,
        _ => 0,
    });
    let step = |kind: &Served| match kind.can("deletecollection") {
        true => Step::DeleteCollection(kind.resource.clone()),
        false => Step::DeleteEach(kind.resource.clone()),
    };
    kinds.into_iter().map(step).collect()
}

impl Controller {
    async fn reconcile(&self, key: &Key) -> Result<Outcome, ClientError> {
        let Some(namespace) = self.namespaces.get(key).filter(|namespace| is_deleting(namespace.value()))
        else {
            return Ok(Outcome::Done);
        };
        let finalizers = list(namespace.value(), "/spec/finalizers");
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Outcome::Done);
        }
        let mut remaining = Remaining::default();
        for step in plan(&discovery::served(&self.discovering).await?) {
            let (Step::DeleteCollection(resource) | Step::DeleteEach(resource)) = &step;
            // One kind that cannot be deleted holds up no other.
            match self.execute(&key.name, &step).await {
                Ok(left) => remaining.note(resource, list(&left, "/items")),
                // Its definition is gone, and it with it.
                Err(error) if error.is_not_found() => {}
                Err(error) => remaining.failed(&error.to_string()),
            }
        }
        if !remaining.is_nothing() {
            self.tell(&key.name, &remaining).await?;
            return match remaining.failure() {
                Some(error) => {
                    tracing::warn!(namespace = %key, error, "a namespace cannot end yet; it is tried again");
                    Ok(Outcome::Again)
                }
                None => Ok(Outcome::After(LOOK_AGAIN)),
            };
        }
        let mut fresh = self.client.get(&Resource::NAMESPACES, "", &key.name).await?;
        let rest: Vec<Value> = list(&fresh, "/spec/finalizers")
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .cloned()
            .collect();
        fresh["spec"] = json!({"finalizers": rest});
        match self.client.update_subresource(&Resource::NAMESPACES, "finalize", &fresh).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            Err(error) if error.is_conflict() => Ok(Outcome::Again),
            answer => answer.map(|_| Outcome::Done),
        }
    }

    /// Says in the namespace's status what is left.
    async fn tell(&self, name: &str, remaining: &Remaining) -> Result<(), ClientError> {
        let mut fresh = self.client.get(&Resource::NAMESPACES, "", name).await?;
        let now = (self.client.surroundings().now)();
        let Some(conditions) = remaining.conditions(list(&fresh, "/status/conditions"), now) else {
            return Ok(());
        };
        fresh["status"]["conditions"] = conditions.into();
        match self.client.update_subresource(&Resource::NAMESPACES, "status", &fresh).await {
            // Said the next time.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Deletes a kind's objects; those that are still there.
    async fn execute(&self, namespace: &str, step: &Step) -> Result<Value, ClientError> {
        let resource = match step {
            Step::DeleteCollection(resource) => {
                self.client.delete_collection(resource, namespace).await?;
                resource
            }
            Step::DeleteEach(resource) => {
                for object in list(&self.client.list(resource, namespace, &[]).await?, "/items") {
                    let name = text(object, "/metadata/name");
                    match self.client.delete(resource, namespace, name, None, None).await {
                        Err(error) if error.is_not_found() => {}
                        answer => drop(answer?),
                    }
                }
                resource
            }
        };
        self.client.list(resource, namespace, &[]).await
    }
}
