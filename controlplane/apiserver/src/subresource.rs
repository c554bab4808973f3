//! Subresources that are more than a part of their object: one file each.

pub mod binding;
pub mod eviction;
pub mod scale;
pub mod token;
