//! Builds the programs: Rust to LLVM bitcode, bitcode to a BPF object, all inside `cargo build`.
//!
//! ```text
//! ebpf/programs ── nested cargo, host triple ──▶ rlibs of bitcode ── bpf-linker ──▶ $OUT_DIR/programs.o
//! ```
//!
//! Stable rustc has no `core` for BPF, but the `core` that comes with it carries bitcode, and x86_64 and BPF
//! agree in the layout of everything that is used. So the crate is compiled for the host without the
//! host's optimisations, and bpf-linker (as a library, with the LLVM of this very rustc) optimises and
//! generates code for BPF.
//!
//! The nested cargo builds the member keelson-programs of this same workspace with its lock file: no second
//! lock file, no crate outside of clippy and tests, and nothing to download after `cargo fetch`. It has a
//! target directory of its own below OUT_DIR, so it never waits for the outer cargo, and flags of its own in
//! CARGO_ENCODED_RUSTFLAGS, which replace those of .cargo/config.toml.
//!
//! **Invariants.** What the object exports is abi's list of maps and programs. Errors end the build with the command that failed.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use bpf_linker::{Cpu, Linker, LinkerInput, LinkerOptions, OptLevel, OutputType};

/// For the nested build. No pre-populated passes: optimising is left to the BPF pipeline, not to the host's.
const FLAGS: &[&str] = &[
    "--cfg=keelson_bpf",
    "--check-cfg=cfg(keelson_bpf)",
    "--cfg=bpf_target_arch=\"x86_64\"",
    "-Cdebuginfo=2",
    "-Clinker-plugin-lto",
    "-Cno-prepopulate-passes",
    "-Cpanic=abort",
    "-Cno-vectorize-loops",
    "-Cno-vectorize-slp",
    "-Crelocation-model=static",
    "-Ccodegen-units=1",
];

/// Functions that the verifier reads once, by themselves, however often and from wherever they are called.
const GLOBAL: &[&str] = &[
    "judge4",
    "judge6",
    "lead4",
    "lead6",
    "conceal4",
    "conceal6",
    "attempt4",
    "attempt6",
    "oust4",
    "oust6",
    "report4",
    "report6",
    "read6",
    "rewrite6",
    "exceeded4",
    "exceeded6",
];

/// Variables by which the outer cargo, clippy or a user would change the nested build.
const FOREIGN: &[&str] =
    &["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CLIPPY_ARGS"];

fn main() {
    // What LLVM has against the programs comes as log lines.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let out = PathBuf::from(variable("OUT_DIR"));
    let here = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let ebpf = here.parent().expect("this crate lies in ebpf/");
    for watched in ["programs/src", "programs/Cargo.toml", "abi/src", "abi/Cargo.toml"] {
        println!("cargo:rerun-if-changed={}", ebpf.join(watched).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let sysroot = sysroot();
    let built = compile(ebpf.parent().expect("ebpf/ lies in the workspace"), &out.join("programs"));
    link(&inputs(&built, &sysroot), &sysroot, &out.join("programs.o"));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|e| panic!("{name}: {e}; run this by cargo"))
}

fn sysroot() -> PathBuf {
    let rustc = variable("RUSTC");
    let output = Command::new(&rustc).args(["--print", "sysroot"]).output();
    let output = output.unwrap_or_else(|e| panic!("{rustc} --print sysroot: {e}"));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// Compiles the crate of the programs to bitcode; gives the directory of the rlib.
fn compile(workspace: &Path, target: &Path) -> PathBuf {
    let host = variable("HOST");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(workspace);
    cargo.args(["build", "--quiet", "--release", "--locked", "--package", "keelson-programs"]);
    cargo.args(["--target", &host, "--target-dir"]).arg(target);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if FOREIGN.contains(&name.as_str()) || name.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
    assert!(status.success(), "the programs in ebpf/programs do not compile: {cargo:?}");
    target.join(host).join("release")
}

/// The programs, what they use, and `core`.
fn inputs(built: &Path, sysroot: &Path) -> Vec<PathBuf> {
    let mut inputs = vec![built.join("libkeelson_programs.rlib")];
    inputs.extend(rlibs(&built.join("deps"), &["libaya_ebpf", "libkeelson_abi"]));
    let core = rlibs(&sysroot.join("lib/rustlib").join(variable("HOST")).join("lib"), &["libcore-"]);
    assert!(!core.is_empty(), "no libcore below {}; use rustup's toolchain", sysroot.display());
    inputs.extend(core);
    inputs
}

fn rlibs(folder: &Path, prefixes: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    // Of an earlier build with other flags there may be several: the newest is meant.
    let mut newest: Vec<(String, std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".rlib") || !prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let stem = name.rsplit_once('-').map_or(name.clone(), |(stem, _)| stem.to_owned());
        let changed = entry.metadata().and_then(|m| m.modified()).unwrap_or(std::time::UNIX_EPOCH);
        match newest.iter_mut().find(|(other, ..)| *other == stem) {
            Some(known) if known.1 < changed => *known = (stem, changed, entry.path()),
            Some(_) => {}
            None => newest.push((stem, changed, entry.path())),
        }
    }
    newest.into_iter().map(|(_, _, path)| path).collect()
}

fn link(inputs: &[PathBuf], sysroot: &Path, output: &Path) {
    // SAFETY: a build script has one thread here; the linker's proxy looks for libLLVM in this variable.
    unsafe { env::set_var("LD_LIBRARY_PATH", sysroot.join("lib")) };
    let linker = Linker::new(LinkerOptions {
        target: Some(CString::from(c"bpfel-unknown-none")),
        cpu: Cpu::V3,
        cpu_features: CString::default(),
        optimize: OptLevel::Aggressive,
        unroll_loops: false,
        ignore_inline_never: false,
        llvm_args: Vec::new(),
        disable_expand_memcpy_in_order: false,
        disable_memory_builtins: false,
        btf: true,
        allow_bpf_trap: false,
    });
    let exported = abi::PROGRAMS.iter().map(|p| p.name).chain(abi::MAPS.iter().map(|m| m.name));
    let exported: Vec<&str> = exported.chain(GLOBAL.iter().copied()).chain(["LICENSE"]).collect();
    let inputs = inputs.iter().map(|path| LinkerInput::new_from_file(path));
    linker
        .link_to_file(inputs, output, OutputType::Object, exported)
        .unwrap_or_else(|e| panic!("linking the programs: {e}"));
    assert!(!linker.has_errors(), "bpf-linker reported errors while linking the programs");
}
