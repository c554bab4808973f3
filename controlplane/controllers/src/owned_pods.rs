//! Pods that a controller makes and takes away for one owner.
//!
//! Each is expected before it is asked for, and no more once it is known that it will not come or go; users are told by
//! events on the owner. How many there should be, and in what order, is the controllers' own.

use std::sync::Arc;

use api::meta::Meta;
use client::{Client, ClientError, EventKind, EventRecorder, Key, Object, Reference, Resource};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::expectations::Expectations;

pub(crate) struct OwnedPods<'a> {
    pub client: &'a Client,
    pub events: &'a EventRecorder,
    pub expectations: &'a Expectations,
    pub owner: &'a Arc<Object>,
}

impl OwnedPods<'_> {
    /// Makes all at once. An error: the last one, after all were tried.
    pub(crate) async fn create(&self, pods: Vec<Value>) -> Result<(), ClientError> {
        self.expectations.creating(&self.owner.key, pods.len());
        self.create_expected(pods.into_iter().map(Arc::new)).await
    }

    /// As [`OwnedPods::create`], for pods that are expected already.
    pub(crate) async fn create_expected(
        &self,
        pods: impl Iterator<Item = Arc<Value>>,
    ) -> Result<(), ClientError> {
        let mut tasks = JoinSet::new();
        for pod in pods {
            let (client, namespace) = (self.client.clone(), self.owner.key.namespace.clone());
            tasks.spawn(async move { client.create(&Resource::PODS, &namespace, &pod).await });
        }
        let mut failed = None;
        while let Some(ended) = tasks.join_next().await {
            let Ok(answer) = ended else { continue };
            match answer {
                Ok(pod) => {
                    let message = format!("Created pod: {}", Meta::of(&pod).name());
                    self.tell(EventKind::Normal, "SuccessfulCreate", message);
                }
                Err(error) => {
                    // Will not be seen: it does not exist.
                    self.expectations.created(&self.owner.key);
                    if !error.namespace_is_terminating() {
                        self.tell(EventKind::Warning, "FailedCreate", format!("Error creating: {error}"));
                    }
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes them away one after the other, until one cannot be. What is gone, or another one by now, is as good as taken.
    pub(crate) async fn delete(&self, pods: &[(Key, String)]) -> Result<(), ClientError> {
        for (pod, uid) in pods {
            self.expectations.deleting(&self.owner.key, uid);
            match self.client.delete(&Resource::PODS, &pod.namespace, &pod.name, Some(uid), None).await {
                Ok(_) => self.deleted(pod),
                Err(error) => {
                    self.expectations.deleted(&self.owner.key, uid);
                    if !error.is_not_found() && !error.is_conflict() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn deleted(&self, pod: &Key) {
        self.tell(EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.name));
    }

    pub(crate) fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.events.record(Reference::to(self.owner), kind, reason, message);
    }
}
