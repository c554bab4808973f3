//! Bytes on the wire: which form a client wants or sends, and objects from and to JSON, YAML and protobuf.
//!
//! Not HTTP and not storage. Objects are `serde_json::Value`s in canonical form (see `schema::canonical`), whatever
//! form they arrived in.
//!
//! Invariants: an object from a protobuf body equals its JSON twin; an unknown protobuf field is refused, never
//! dropped, because it would be lost silently.

mod body;
mod media;
pub mod protobuf;
mod watch;
mod yaml;

pub use body::{Body, BodyOf, decode_body, decode_options, patch_body};
pub use media::{Accepted, Allow, Convert, Encoding, PatchType, negotiate};
pub use watch::{WatchType, watch_frame_json, watch_frame_protobuf};
pub use yaml::{doubled_key, from_yaml, to_yaml};

#[cfg(test)]
mod tests;
