//! What runs in the kernel: packet logic that is also tested on the host, and thin entry points.
//!
//! ```text
//! parse.rs     headers -> Seen            raw pointers between two ends, as the verifier wants them
//! family.rs    what differs between IPv4 and IPv6 in addresses and settings
//! world.rs     what the logic needs of its surroundings: maps, clock, chance
//! choose.rs    service -> backend         affinity, node ports
//! track.rs     flow -> what it becomes    conntrack, NAT, collisions
//! policy.rs    who may talk to whom       NetworkPolicy by numbers
//! route.rs     destination -> delivery    pod, node or outside; PENDING
//! name.rs      socket logic               which sockets are translated
//!   ── above: pure, tested on the host; below: helpers of the kernel, tested by running ──
//! kernel.rs    World by the maps          maps.rs
//! read.rs      headers of the packet at hand
//! frame.rs     parts of the logic in frames of their own
//! fit.rs       whether a packet is longer than its way takes
//! rewrite.rs   addresses, ports, hop limits, checksums
//! refuse.rs    resets and ICMP errors for what is dropped
//! report.rs    tells what became of a packet
//! deliver.rs   redirect_peer, redirect_neigh, redirect
//! packet.rs    the packet programs        socket.rs    the socket programs        wire.rs   XDP
//! hop.rs       where XDP's packets go
//! ```
//!
//! Built twice: as an ordinary crate of the workspace (clippy, tests of the logic) and, by
//! ebpf/datapath/build.rs, to LLVM bitcode that bpf-linker turns into a BPF object; only then is
//! `keelson_bpf` set.
//!
//! **Invariants.** No slices, no indexing, no formatting, no panics: a panic is an endless loop that the
//! verifier refuses. Everything is inlined into its entry point. No call to memset, memcpy or memmove (a test
//! looks): padding is scalar, records are small. Nothing that aya-ebpf makes depend on target_arch = "bpf".
//!
//! **Missing.** More than two extension headers of IPv6, AH and ESP (dropped where they would need translation).
//! VLAN tags inside the packet.
//!
//! The kernel gives `bpf_fib_lookup` to GPL-compatible programs only, so this folder is licensed
//! "Apache-2.0 OR MIT OR GPL-2.0-only", and its licence section says "Dual MIT/GPL".
//!
//! Reference: linux/bpf.h, bpf-helpers(7).
#![no_std]
#![allow(unsafe_code)]
// Set by ebpf/datapath/build.rs.
#![allow(unexpected_cfgs)]

#[cfg(test)]
extern crate std;

mod choose;
mod family;
mod name;
mod parse;
mod policy;
mod route;
mod track;
mod world;
#[cfg(test)]
mod world_tests;

#[cfg(not(test))]
mod deliver;
#[cfg(not(test))]
mod fit;
#[cfg(not(test))]
mod fragment;
#[cfg(not(test))]
mod frame;
#[cfg(not(test))]
mod hop;
#[cfg(not(test))]
mod kernel;
#[cfg(not(test))]
mod maps;
#[cfg(not(test))]
mod packet;
#[cfg(not(test))]
mod read;
#[cfg(not(test))]
mod refuse;
#[cfg(not(test))]
mod report;
#[cfg(not(test))]
mod rewrite;
#[cfg(not(test))]
mod socket;
#[cfg(not(test))]
mod wire;

#[cfg(keelson_bpf)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(test))]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
