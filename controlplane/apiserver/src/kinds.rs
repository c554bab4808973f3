//! The kinds that are served now: a registry that is swapped whole when a definition changes.
//!
//! Not who decides that (`definitions`). Readers take the latest value and keep it for as long as they look.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use api::kind::{Kind, Registry};

/// The latest registry.
#[derive(Debug)]
pub struct Kinds {
    current: RwLock<Arc<Registry>>,
    /// Counts swaps, and changes of definitions that leave the rows as they are: what is made of the kinds is kept by it.
    generation: AtomicU64,
}

impl Kinds {
    /// The built-in kinds.
    pub fn builtin() -> Kinds {
        Kinds { current: RwLock::new(Arc::new(Registry::builtin())), generation: AtomicU64::new(0) }
    }

    /// The kinds of now.
    pub fn current(&self) -> Arc<Registry> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The row behind a path.
    pub fn by_resource(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.current().by_resource(group, version, resource)
    }

    /// Which value this is.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Serves these custom kinds besides the built-in ones.
    pub fn serve(&self, custom: Vec<&'static Kind>) {
        let registry = Arc::new(Registry::with(custom));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = registry;
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}
