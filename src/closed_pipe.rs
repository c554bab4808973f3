//! What becomes of a command whose output nobody reads any more (`keelson status | head -1`): it ends quietly.
//!
//! Printing to a closed pipe panics in Rust's library. The signal that ends other programs then stays off, because it would
//! also end a command whose server closes the connection.

use std::process::exit;

/// As a shell tells the death by SIGPIPE.
const NOBODY_READS: i32 = 141;

/// For commands that print and end; not for parts that stay.
pub fn ends_quietly() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            exit(NOBODY_READS);
        }
        before(panic);
    }));
}
