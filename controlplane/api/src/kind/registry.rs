//! Which kinds are served: the built-in rows and, later, those of CustomResourceDefinitions.
//!
//! A plain value; the API server swaps it whole when a definition changes.

use super::{Kind, builtin};

/// The set of served kinds, in discovery order.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: Vec<&'static Kind>,
}

impl Registry {
    /// Every built-in kind.
    pub fn builtin() -> Registry {
        Registry { kinds: builtin().collect() }
    }

    pub fn kinds(&self) -> impl Iterator<Item = &'static Kind> + '_ {
        self.kinds.iter().copied()
    }

    /// The row behind a path. A scan: some seventy rows, compared by length first, cost less than hashing three strings.
    pub fn by_resource(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.kinds().find(|kind| kind.resource == resource && kind.group == group && kind.version == version)
    }

    pub fn by_kind(&self, group: &str, version: &str, name: &str) -> Option<&'static Kind> {
        self.kinds().find(|kind| kind.kind == name && kind.group == group && kind.version == version)
    }

    /// Groups in discovery order, the core group (`""`) first.
    pub fn groups(&self) -> Vec<&'static str> {
        let mut groups = Vec::new();
        for kind in self.kinds() {
            if !groups.contains(&kind.group) {
                groups.push(kind.group);
            }
        }
        groups
    }

    /// Versions of a group, preferred first.
    pub fn versions(&self, group: &str) -> Vec<&'static str> {
        let mut versions = Vec::new();
        for kind in self.kinds().filter(|kind| kind.group == group) {
            if !versions.contains(&kind.version) {
                versions.push(kind.version);
            }
        }
        versions
    }

    /// The kinds of one group version.
    pub fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'static Kind> + 'a {
        self.kinds().filter(move |kind| kind.group == group && kind.version == version)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::builtin()
    }
}
