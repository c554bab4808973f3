//! End-to-end tests: real containers, packets, registries and kills, one file per story.

mod api_apply;
mod api_bodies;
mod api_credentials;
mod api_durability;
mod api_kubectl;
mod api_lists;
mod api_writes;
mod cni_plain;
mod controllers;
mod cri_container;
mod cri_figures;
mod cri_node;
mod cri_sandbox;
mod cri_survival;
mod dns_names;
mod identity;
mod oci_bundle;
mod oci_filesystem;
mod oci_lifecycle;
mod oci_process;
mod proxy_services;
mod scheduler_pods;
