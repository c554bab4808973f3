//! CRI v1 as of cri-api 0.36: messages, clients and servers generated from `proto/`.
//!
//! `v1::runtime_service_server` and `v1::image_service_server` hold the traits the CRI server implements,
//! the `_client` modules what the kubelet calls. What is not here: validation, conversions, transport.
//!
//! **Invariants.** Message, field and enum names, numbers and types are those of the interface and never
//! change; an upgrade only adds. [`v1::AuthConfig`] never prints a secret.
//!
//! Reference: the package `runtime.v1`, 35 calls on pods, containers and the runtime, 6 on images.

mod redact;

/// The package `runtime.v1`.
#[allow(clippy::all, missing_docs, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

/// The package `keelson.images.v1`: what `keelson image` asks of its node beyond CRI.
#[allow(clippy::all, missing_docs, rustdoc::all)]
pub mod images_v1 {
    tonic::include_proto!("keelson.images.v1");
}
