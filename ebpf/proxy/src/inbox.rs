//! What the caches tell: which Services to look at again, and the slices of each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::{Cache, Key};
use tokio::sync::Notify;

use crate::health::Health;
use crate::slice::Slices;

/// Written by the caches' subscribers, emptied by the one who plans. As long as there are Services, at most.
pub(crate) struct Inbox {
    state: Mutex<State>,
    bell: Notify,
    health: Arc<Health>,
}

#[derive(Default)]
struct State {
    dirty: BTreeSet<Key>,
    slices: Slices,
}

impl Inbox {
    pub(crate) fn follow(services: &Cache, slices: &Cache, health: Arc<Health>) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox { state: Mutex::default(), bell: Notify::new(), health });
        let told = inbox.clone();
        services.subscribe(move |change| told.add([change.key.clone()]));
        let told = inbox.clone();
        slices.subscribe(move |change| {
            let touched = told.state().slices.changed(change);
            told.add(touched);
        });
        inbox
    }

    /// These Services are to be looked at again.
    pub(crate) fn add(&self, keys: impl IntoIterator<Item = Key>) {
        self.state().dirty.extend(keys);
        self.health.pending();
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut self.state().dirty)
    }

    pub(crate) fn with_slices<T>(&self, look: impl FnOnce(&Slices) -> T) -> T {
        look(&self.state().slices)
    }

    /// Returns once somebody has added something, or has asked for a look.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
