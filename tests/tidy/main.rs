//! Style kept by a test: layers.
