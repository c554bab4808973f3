//! End-to-end tests: real containers, packets, registries and kills, one file per story.

mod cni_plain;
