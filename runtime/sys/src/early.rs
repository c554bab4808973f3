//! Running before the language's own start-up, for commands whose whole life is a millisecond.
//!
//! ```text
//! execve ─► C library ─► [before_main! function] ── None ──► start-up, constructors, main
//!                                │ Some(code)
//!                                └──► _exit: no destructors either
//! ```
//!
//! The start-up reads and parses /proc/self/maps for the sake of a message about overflown stacks, and constructors and
//! destructors of libraries that such a command never calls touch pages all over a large file: a third of the cost
//! of a start. What the start-up does for safety is done here: the first three descriptors are open, and SIGPIPE is
//! ignored.
//!
//! **Invariants.** The function runs in the one thread there is. It may use the standard library, but for what threads
//! are called and for a message when the stack overflows. Arguments and environment are known by then.
//!
//! Reference: glibc calls entries of `.init_array` in order of their number; the standard library keeps its arguments in
//! number 99.

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod entry;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod protect;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::process::exit_now;

/// Set for a process that runs from the protected file, so that a host where protection fails shows an error, not a loop. Whoever
/// becomes another executable in place leaves it out of the environment: that one is not protected yet.
pub const MARK: &str = "KEELSON_SHIELDED";

/// The variable with its value.
pub const MARKED: &std::ffi::CStr = c"KEELSON_SHIELDED=1";

/// What a panic exits with, as in a program that started the long way.
const PANICKED: i32 = 101;

/// Names the function to run before `main`. With a code the process ends; without one the start goes on as if nothing
/// had been. Once, in the executable itself.
#[macro_export]
macro_rules! before_main {
    ($function:path) => {
        const _: () = {
            extern "C" fn __before_main() {
                $crate::early::run($function)
            }
            // A section's name is unsafe to choose: the C library calls what it finds there, which is what this is for.
            #[used]
            #[allow(unsafe_code)]
            #[unsafe(link_section = ".init_array.00100")]
            static EARLY: extern "C" fn() = __before_main;
        };
    };
}

/// Calls the function; see [`before_main!`].
pub fn run(function: fn() -> Option<u8>) {
    let code = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(None) => return,
        Ok(Some(code)) => code.into(),
        Err(_) => PANICKED,
    };
    // A reader that has left needs no last words.
    let _closed = std::io::stdout().flush();
    exit_now(code)
}

/// What the start-up would have done for safety: nothing opened later may become a standard stream, and a reader
/// that leaves is an error, not a signal.
pub fn make_safe() {
    for number in 0..3 {
        // SAFETY: F_GETFD touches nothing. open takes the lowest free number, which is this one, because those
        // below were just seen open and no other thread runs.
        unsafe {
            if libc::fcntl(number, libc::F_GETFD) < 0 && libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) < 0 {
                libc::abort();
            }
        }
    }
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
