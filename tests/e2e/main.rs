//! End-to-end tests: real containers, packets, registries and kills, one file per story.

mod cni_plain;
mod oci_bundle;
mod oci_filesystem;
mod oci_lifecycle;
mod oci_process;
