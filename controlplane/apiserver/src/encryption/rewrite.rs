//! Objects of older keys are written again with the present one.
//!
//! Only the encryption changes; as after any write the object has a new resourceVersion. What somebody else writes
//! meanwhile is written with the present key anyway, so a lost compare-and-swap is nothing to repeat.

use std::collections::BTreeMap;

use store::{KeyRange, RangeRequest, Record, Revision, Store, Transaction, Urgency};

use super::{EncryptionError, Keyring};
use crate::cache::prefix;
use crate::envelope::{self, Place};

/// Objects looked at at once.
const PAGE: usize = 500;

/// A stored resource.
pub(super) type Resource = (&'static str, &'static str);

/// Fails where an object of the store is of a key that `keys` lacks.
pub(super) fn check(store: &Store, resources: &[Resource], keys: &Keyring) -> Result<(), EncryptionError> {
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    for resource in resources {
        for_each_page(store, *resource, |records| {
            let ids = records.iter().filter_map(|record| envelope::key_id(&record.value).ok());
            for id in ids.filter(|id| !id.is_empty() && !keys.knows(id)) {
                *missing.entry(id.to_owned()).or_default() += 1;
            }
        })?;
    }
    match missing.pop_first() {
        Some((key, objects)) => Err(EncryptionError::KeyMissing { key, objects }),
        None => Ok(()),
    }
}

/// Writes every object again that is not of the key it should be of; how many.
pub(super) async fn rewrite(
    store: &Store,
    resources: &[Resource],
    keys: &Keyring,
) -> Result<usize, EncryptionError> {
    let mut written = 0;
    for (group, resource) in resources {
        let key = keys.writer(group, resource).map(|key| &**key);
        let wanted = key.map_or("", |key| &key.id);
        let mut stale: Vec<Record> = Vec::new();
        for_each_page(store, (group, resource), |records| {
            let other = |record: &Record| envelope::key_id(&record.value).is_ok_and(|id| id != wanted);
            stale.extend(records.into_iter().filter(other));
        })?;
        for record in stale {
            let place = Place { path: &record.key, key };
            let sealed = envelope::reseal(&record.value, keys, place).map_err(failed)?;
            let put = Transaction::put_if(record.key.to_vec(), record.modified, sealed, record.lease);
            let reply = store.transact(put, Urgency::Relaxed).await.map_err(failed)?;
            written += usize::from(reply.succeeded);
        }
    }
    Ok(written)
}

fn for_each_page(
    store: &Store,
    (group, resource): Resource,
    mut look: impl FnMut(Vec<Record>),
) -> Result<(), EncryptionError> {
    let mut range = KeyRange::prefix(prefix(group, resource));
    let at: Revision = store.state().revision();
    loop {
        let request = RangeRequest { range: range.clone(), revision: Some(at), limit: PAGE };
        let page = store.state().range(&request).map_err(failed)?;
        let Some(last) = page.records.last() else { return Ok(()) };
        range.start = [&last.key[..], &[0]].concat();
        let more = page.remaining > 0;
        look(page.records);
        if !more {
            return Ok(());
        }
    }
}

fn failed(error: impl std::fmt::Display) -> EncryptionError {
    EncryptionError::Store(error.to_string())
}
