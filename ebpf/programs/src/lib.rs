//! What runs in the kernel: packet logic that is also tested on the host, and thin entry points.
//!
//! ```text
//! entry.rs    one function per program of abi::PROGRAMS: context in, verdict out
//! maps.rs     the maps of abi::MAPS
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
//! The kernel gives `bpf_fib_lookup` to GPL-compatible programs only, so this folder is licensed
//! "Apache-2.0 OR MIT OR GPL-2.0-only", and its licence section says "Dual MIT/GPL".
//!
//! Reference: linux/bpf.h, bpf-helpers(7).
#![no_std]
#![allow(unsafe_code)]

mod entry;
mod maps;

#[cfg(keelson_bpf)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
