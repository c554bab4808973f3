//! Fuzz targets: bytes as somebody hostile would send them, at every parser that reads from outside.
//!
//! Each target is a test with a budget of [`mutate::SECONDS`], so that `cargo test` always runs a little of it; the seed
//! and the time are in the environment for more:
//!
//! ```text
//! KEELSON_FUZZ_SECONDS=600 cargo test --test fuzz -- bundle     ten minutes of one target
//! KEELSON_FUZZ_SEED=7 ...                                      other inputs
//! ```
//!
//! A new target is one file: a corpus of honest inputs, words of its language, and a function from bytes that panics
//! when something is wrong; [`mutate::run`] does the rest. What it prints on a failure is the input.

mod bundle;
mod frames;
mod images;
mod layers;
mod logs;
mod mutate;
mod requests;
mod seccomp;
