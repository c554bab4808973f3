//! Which addresses a pod gets. The plugin alone decides; nobody else writes its state.
//!
//! ```text
//! <dataDir>/<network>/lock                     flock: one at a time
//!                     10.244.0.5 -> c1 eth0    a symbolic link per address in use, to its owner
//!                     last.0                   the address reserved last out of set 0
//! ```
//!
//! A symbolic link is made or refused (EEXIST) with its content in one system call, so a kill at any
//! moment leaves either nothing or a reservation that names its owner.
//!
//! **Invariants.** An address is reserved before it is configured and released after it is gone. Losing
//! `last.*` is harmless: the search starts at the beginning.

mod range;
mod store;

pub use range::{Range, RangeSet};
pub use store::{IpamError, Store};
