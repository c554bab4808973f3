//! Memory that a process has touched and does not need any more, given back to the system.
//!
//! A start and a burst of work leave three things behind: pages of the executable that are mapped and not run again (the
//! kernel maps sixteen around each one that is touched), free pieces of the heap between pieces that are used, and one heap
//! for each thread that ever allocated. What is given back comes back by a page fault when it is needed after all:
//! from the page cache, or as zeros.
//!
//! [`thread_begins`] and [`thread_ends`] are hooks for whoever starts threads when there is much to do and ends them when there is
//! not: their end is the event that says that a burst is over. Nothing here looks at a clock.
//!
//! **Invariants.** Pages that this process has written are never dropped. Reference: mallopt(3), malloc_trim(3),
//! dl_iterate_phdr(3), madvise(2) MADV_DONTNEED.

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

/// Threads that end between two moments of giving back.
const BURST: usize = 8;

/// Lets all threads allocate from so many heaps, instead of from eight for each processor. Before the first thread starts.
pub fn limit_heaps(most: u8) {
    // SAFETY: it sets a number inside of the allocator, under the allocator's lock.
    // A refusal leaves what was: nothing depends on it.
    let _set = unsafe { libc::mallopt(libc::M_ARENA_MAX, c_int::from(most)) };
}

/// Gives back what is free in the heaps.
fn trim_heaps() {
    // SAFETY: it touches free pieces only, under the heaps' locks.
    let _whether_anything_was = unsafe { libc::malloc_trim(0) };
}

/// Unmaps the executable's pages that nobody may write; those that are used again come back from the page cache.
fn unmap_executable() {
    // SAFETY: the callback has the type that is asked for, and is called before this returns.
    unsafe { libc::dl_iterate_phdr(Some(unmap_object), std::ptr::null_mut()) };
}

/// What is free in the heaps, and pages of the executable.
pub fn give_back() {
    trim_heaps();
    unmap_executable();
}

unsafe extern "C" fn unmap_object(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the C library hands a valid structure over whose headers are so many.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    // SAFETY: it reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.cast_unsigned();
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        if header.p_flags & libc::PF_W != 0 {
            continue;
        }
        let from = (base + header.p_vaddr) / page * page;
        let to = (base + header.p_vaddr + header.p_memsz).next_multiple_of(page);
        // SAFETY: a segment that nobody may write holds what its file holds, so that each page that is dropped is read from
        // there again, also under a thread that runs in it. An error leaves it as it is.
        let _mapped_still =
            unsafe { libc::madvise(from as *mut c_void, (to - from) as usize, libc::MADV_DONTNEED) };
    }
    0
}

/// How many threads there are, and were since something was given back.
struct Threads {
    now: usize,
    most: usize,
    /// What the start has left was given back.
    started: bool,
}

static THREADS: Mutex<Threads> = Mutex::new(Threads { now: 0, most: 0, started: false });

/// A thread of the pool begins.
pub fn thread_begins() {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).begins();
}

/// A thread of the pool ends, because there was nothing to do for it: the first one after the start, and each time that
/// the pool has shrunk by a burst, what is not needed is given back.
pub fn thread_ends() {
    let over = THREADS.lock().unwrap_or_else(PoisonError::into_inner).ends();
    if over {
        give_back();
    }
}

impl Threads {
    fn begins(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    /// Whether something is to be given back.
    fn ends(&mut self) -> bool {
        self.now = self.now.saturating_sub(1);
        let over = !self.started || self.most - self.now >= BURST;
        if over {
            (self.started, self.most) = (true, self.now);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kilobytes of a line of a file of /proc/self.
    fn kilobytes(file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_free_between_what_is_used_goes_back() {
        const PIECE: usize = 16 << 10;
        const PIECES: u64 = 2000;
        let (mut kept, mut freed) = (Vec::new(), Vec::new());
        for _ in 0..PIECES {
            freed.push(vec![1_u8; PIECE]);
            kept.push(vec![1_u8; 64]);
        }
        drop(freed);
        let before = kilobytes("smaps_rollup", "Anonymous:");
        give_back();
        let after = kilobytes("smaps_rollup", "Anonymous:");
        assert!(before - after > PIECES * 8, "{before} kB before, {after} kB after");
        assert!(kept.iter().all(|piece| piece.iter().all(|byte| *byte == 1)));
    }

    #[test]
    fn the_executable_is_read_again() {
        // Written pages of the executable are kept.
        static WRITTEN: Mutex<u64> = Mutex::new(1);
        *WRITTEN.lock().unwrap() = 42;
        // Other tests read their pages again meanwhile; the kernel counts to some 128 kB for each processor.
        let fell = (0..20).any(|_| {
            let before = kilobytes("status", "RssFile:");
            unmap_executable();
            let after = kilobytes("status", "RssFile:");
            before > after + 512
        });
        assert!(fell);
        assert_eq!(*WRITTEN.lock().unwrap(), 42);
        assert_eq!(
            format!("{:?}", "text and data".split(' ').collect::<Vec<_>>()),
            r#"["text", "and", "data"]"#
        );
    }

    #[test]
    fn a_burst_ends_once() {
        let mut threads = Threads { now: 0, most: 0, started: false };
        // 2 workers; the first helper that ends says that the start is over; a helper now and then says nothing.
        (0..3).for_each(|_| threads.begins());
        assert!(threads.ends());
        for _ in 0..100 {
            threads.begins();
            assert!(!threads.ends());
        }
        (0..20).for_each(|_| threads.begins());
        let said: Vec<usize> = (1..=20).filter(|_| threads.ends()).collect();
        assert_eq!(said, [8, 16]);
        assert_eq!((threads.now, threads.most), (2, 6));
    }
}
