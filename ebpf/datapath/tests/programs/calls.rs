//! What the object must not contain, whichever kernel reads it.
//!
//! No program calls memset, memcpy or memmove: they are loops over single bytes, and cost a sixth of a packet's time.
//! No chain of calls needs more stack than Linux 6.1 gives, which counts more of it than the kernel of most tests.

use std::collections::BTreeMap;

use super::instructions::{Function, functions};

/// What the verifier of Linux 6.1 allows: bytes of all frames of a chain, each rounded up, and frames.
const STACK_MAX: u64 = 512;
const FRAME_ROUNDED_TO: u64 = 32;
const FRAMES_MAX: usize = 8;

#[test]
fn no_program_moves_memory_byte_by_byte() {
    let functions = functions();
    let calls =
        || functions.iter().flat_map(|(caller, f)| f.calls.iter().map(move |callee| (caller, callee)));
    assert!(calls().any(|(_, callee)| callee.contains("pod4")), "calls are found: {functions:?}");
    assert!(calls().all(|(caller, callee)| caller != "?" && callee != "?"), "{functions:?}");
    let slow: Vec<_> = calls().filter(|(_, callee)| callee.starts_with("mem") || *callee == "bcmp").collect();
    assert!(
        slow.is_empty(),
        "{slow:?}: padding that is an array, or a record that is too large to be copied inline"
    );
}

#[test]
fn no_chain_of_calls_is_too_deep_for_the_oldest_kernel() {
    let functions = functions();
    for program in abi::PROGRAMS {
        let (bytes, chain) = deepest(&functions, program.name);
        println!("{:14} {bytes:3} bytes: {chain:?}", program.name);
        assert!(functions.contains_key(program.name), "no function {}", program.name);
        assert!(bytes <= STACK_MAX, "{bytes} bytes of stack: {chain:?}");
        assert!(longest(&functions, program.name) <= FRAMES_MAX, "too many frames: {}", program.name);
    }
    assert!(deepest(&functions, "from_pod").0 > 256, "frames are found");
}

/// The chain of calls that needs most stack, and how much it needs.
fn deepest(functions: &BTreeMap<String, Function>, name: &str) -> (u64, Vec<(String, u64)>) {
    let Some(function) = functions.get(name) else { return (0, Vec::new()) };
    let below = function.calls.iter().map(|callee| deepest(functions, callee)).max().unwrap_or_default();
    let mut chain = vec![(name.to_owned(), function.frame)];
    chain.extend(below.1);
    (function.frame.max(1).next_multiple_of(FRAME_ROUNDED_TO) + below.0, chain)
}

/// The number of frames of the longest chain of calls.
fn longest(functions: &BTreeMap<String, Function>, name: &str) -> usize {
    let calls = functions.get(name).map_or(&[][..], |function| &function.calls);
    1 + calls.iter().map(|callee| longest(functions, callee)).max().unwrap_or_default()
}
