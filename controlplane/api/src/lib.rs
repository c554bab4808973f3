//! Kubernetes kinds as data: paths, selectors, quantities, patches, validation, printers, wire formats.
//!
//! The API server is one generic engine; everything that differs between kinds is a row or a table here.
//! No IO, no async, no clock, no randomness: time and random numbers are arguments.

pub mod apply;
pub mod cel;
pub mod cron;
pub mod custom;
pub mod defaulting;
pub mod definition;
pub mod discovery;
pub mod field;
pub mod ip_address;
pub mod kind;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod path;
pub mod pod_size;
pub mod printers;
pub mod quantity;
pub mod quota;
pub mod schema;
pub mod selector;
pub mod status;
pub mod structural;
pub mod time;
pub mod type_checking;
pub mod validation;
pub mod wire;
mod x509;
