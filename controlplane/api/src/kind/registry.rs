//! Which kinds are served: the built-in rows and those of CustomResourceDefinitions.
//!
//! A plain value; the API server swaps it whole when a definition changes.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Kind, builtin};

/// The set of served kinds, in discovery order.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: Vec<&'static Kind>,
    /// Where the kinds of a group are, in discovery order.
    groups: Vec<(&'static str, Range<usize>)>,
    /// The same by group: there may be thousands.
    index: HashMap<&'static str, Range<usize>>,
}

impl Registry {
    /// Every built-in kind.
    pub fn builtin() -> Registry {
        Registry::with(Vec::new())
    }

    /// Every built-in kind and these; of a group and version that is there already they come behind.
    pub fn with(mut custom: Vec<&'static Kind>) -> Registry {
        custom.sort_by(|a, b| {
            let versions = || version_order(a.version, b.version);
            a.group.cmp(b.group).then_with(versions).then_with(|| a.resource.cmp(b.resource))
        });
        let rows: Vec<&'static Kind> = builtin().collect();
        let by_group: HashMap<&str, &[&'static Kind]> =
            custom.chunk_by(|a, b| a.group == b.group).map(|kinds| (kinds[0].group, kinds)).collect();
        let known: HashSet<&str> = rows.iter().map(|kind| kind.group).collect();
        let mut kinds: Vec<&'static Kind> = Vec::with_capacity(rows.len() + custom.len());
        for (position, kind) in rows.iter().enumerate() {
            kinds.push(kind);
            if rows.get(position + 1).is_none_or(|next| next.group != kind.group) {
                kinds.extend(by_group.get(kind.group).copied().unwrap_or_default());
            }
        }
        kinds.extend(custom.iter().filter(|kind| !known.contains(kind.group)));
        let mut groups: Vec<(&'static str, Range<usize>)> = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            match groups.last_mut() {
                Some((group, range)) if *group == kind.group => range.end = at + 1,
                _ => groups.push((kind.group, at..at + 1)),
            }
        }
        let index = groups.iter().cloned().collect();
        Registry { kinds, groups, index }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &'static Kind> + '_ {
        self.kinds.iter().copied()
    }

    /// The row behind a path.
    pub fn by_resource(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.of_version(group, version).find(|kind| kind.resource == resource)
    }

    pub fn by_kind(&self, group: &str, version: &str, name: &str) -> Option<&'static Kind> {
        self.of_version(group, version).find(|kind| kind.kind == name)
    }

    /// Groups in discovery order, the core group (`""`) first.
    pub fn groups(&self) -> Vec<&'static str> {
        self.groups.iter().map(|(group, _)| *group).collect()
    }

    /// Versions of a group, preferred first.
    pub fn versions(&self, group: &str) -> Vec<&'static str> {
        let mut versions = Vec::new();
        for kind in self.of_group(group) {
            if !versions.contains(&kind.version) {
                versions.push(kind.version);
            }
        }
        versions
    }

    /// The kinds of one group.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = &'static Kind> + '_ {
        let range = self.index.get(group).cloned().unwrap_or_default();
        self.kinds[range].iter().copied()
    }

    /// The kinds of one group version.
    pub fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'static Kind> + 'a {
        self.of_group(group).filter(move |kind| kind.version == version)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::builtin()
    }
}

/// Upstream's order of versions: general availability before beta before alpha, later ones first, others by name.
pub fn version_order(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Of `v2beta1`: stability, major, minor.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, tail) = rest.split_at(end);
    let (stability, minor) = if let Some(minor) = tail.strip_prefix("beta") {
        (1, minor.parse().ok()?)
    } else if let Some(minor) = tail.strip_prefix("alpha") {
        (0, minor.parse().ok()?)
    } else {
        (2, if tail.is_empty() { 0 } else { return None })
    };
    Some((stability, major.parse().ok()?, minor))
}
