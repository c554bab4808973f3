//! The `default` ServiceAccount of every namespace.

use std::sync::Arc;

use client::{ClientError, Key, Outcome, Resource, WorkQueue, work};
use serde_json::json;

use crate::context::Context;
use crate::fields::text;

const NAME: &str = "service-account-controller";
const ACCOUNT: &str = "default";

pub(crate) async fn run(context: Arc<Context>) -> Result<(), ClientError> {
    let client = context.client_of(NAME)?;
    let namespaces = context.caches.of(&Resource::NAMESPACES);
    let accounts = context.caches.of(&Resource::SERVICE_ACCOUNTS);
    namespaces.synced().await;
    accounts.synced().await;
    let queue = WorkQueue::new();
    let adding = queue.clone();
    namespaces.subscribe(move |change| adding.add(change.key.clone()));
    let adding = queue.clone();
    accounts.subscribe(move |change| {
        if change.after.is_none() && change.key.name == ACCOUNT {
            adding.add(Key::new("", change.key.namespace.clone()));
        }
    });
    work(NAME, queue, 1, move |key: Key| {
        let (client, namespaces, accounts) = (client.clone(), namespaces.clone(), accounts.clone());
        async move {
            let active =
                namespaces.get(&key).is_some_and(|ns| text(ns.value(), "/status/phase") != "Terminating");
            if !active || accounts.get(&Key::new(key.name.clone(), ACCOUNT)).is_some() {
                return Ok(Outcome::Done);
            }
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT, "namespace": key.name}});
            match client.create(&Resource::SERVICE_ACCOUNTS, &key.name, &account).await {
                Err(error) if error.already_exists() || error.namespace_is_terminating() => Ok(Outcome::Done),
                answer => answer.map(|_| Outcome::Done),
            }
        }
    })
    .await;
    Ok(())
}
