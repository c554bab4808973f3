//! CNI 1.1 as data: configuration, environment, results, errors and versions, for the runtime that
//! executes plugins and for the plugin that is executed.
//!
//! Also what the plugin and the node's agent say to each other ([`agent`], [`host_link`]).
//!
//! Pure: no files, no processes, no clock. A document that does not fit says which field, what stood
//! there and what was expected ([`Misfit`]).
//!
//! Reference: the Container Network Interface specification 1.1.0 and its conventions document; versions
//! 0.3.0 to 1.0.0 are spoken too. 0.1.0 and 0.2.0 are refused with code 1.

pub mod agent;
mod environment;
mod error;
mod field;
pub mod host_link;
mod list;
mod network;
mod result;
mod runtime_config;
mod version;

pub use environment::{Attachment, Command, Environment};
pub use error::{CniError, Code};
pub use field::{Field, Misfit};
pub use list::{Call, NetworkList};
pub use network::Network;
pub use result::{Dns, Interface, Ip, Route, Success};
pub use runtime_config::{AddressRange, Bandwidth, PortMapping, RuntimeConfig};
pub use version::{Version, supported_versions};
