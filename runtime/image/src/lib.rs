//! Image references, registries, content store, layers and snapshots.
