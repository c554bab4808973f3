//! The threads of the long-running parts.
//!
//! Workers are as many as processors. Threads that wait for a disk or the kernel come when they are needed and end soon after;
//! with them goes what the burst has left in memory ([`sys::memory`]).

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// Heaps of all threads together, where there are several parts.
pub const HEAPS: u8 = 4;
/// How long a thread stays that has nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads for a whole process, with so many heaps. Before there is any other.
pub fn start(heaps: u8) -> std::io::Result<Runtime> {
    sys::memory::limit_heaps(heaps);
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(PATIENCE)
        .on_thread_start(sys::memory::thread_begins)
        .on_thread_stop(sys::memory::thread_ends)
        .build()?;
    // One thread at least, whose end says that the start is over.
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}
