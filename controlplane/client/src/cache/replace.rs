//! What differs between two maps of objects.

use std::sync::Arc;

use super::Objects;
use crate::{Key, Object};

type Difference<'a> = (&'a Key, Option<&'a Arc<Object>>, Option<&'a Arc<Object>>);

/// Every object that came, went, became another of the same name, or has another version.
pub(super) fn differences<'a>(old: &'a Objects, fresh: &'a Objects) -> Vec<Difference<'a>> {
    let gone =
        old.iter().filter(|(key, _)| !fresh.contains_key(key)).map(|(key, before)| (key, Some(before), None));
    let there = fresh.iter().filter_map(|(key, after)| match old.get(key) {
        Some(before) if before.uid != after.uid || before.resource_version != after.resource_version => {
            Some((key, Some(before), Some(after)))
        }
        Some(_) => None,
        None => Some((key, None, Some(after))),
    });
    gone.chain(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resource;
    use serde_json::json;

    #[test]
    fn differences_only() {
        let objects = |rows: &[(&str, &str)]| -> Objects {
            let of = |(name, version): &(&str, &str)| {
                let value = json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": version}});
                let object = Object::of(&Resource::PODS, value);
                (object.key.clone(), Arc::new(object))
            };
            rows.iter().map(of).collect()
        };
        let old = objects(&[("gone", "1"), ("same", "2"), ("changed", "3")]);
        let fresh = objects(&[("same", "2"), ("changed", "4"), ("new", "5")]);
        let shown: Vec<_> = differences(&old, &fresh)
            .iter()
            .map(|(key, before, after)| (key.name.as_str(), before.is_some(), after.is_some()))
            .collect();
        assert_eq!(shown, [("gone", true, false), ("changed", true, true), ("new", false, true)]);
    }
}
