//! The executable's first instruction: the C library's start without its questions to the processor.
//!
//! ```text
//! execve ─► keelson_entry ── not an OCI command, or another C library ──► _start
//!                 └── IFUNCs ─► [protect] ─► auxiliary vector ─► thread-local storage ─► early init ─► .init_array (`before_main!`), main
//! ```
//!
//! A static program of glibc asks the processor some thirty times (CPUID) which instructions and caches it has. In a virtual machine
//! each question leaves the guest: 4 to 12 us, 0.3 ms for a command that lives for half a millisecond. Here nothing is asked, so
//! the string functions are those that every x86-64 has.
//!
//! **Invariants.** The calls are those of glibc's `__libc_start_main` in its order, but for IFUNCs, whose resolvers find here that nothing is
//! known, and less tunables, processor features, the vDSO, the question whether the start is privileged (answered before), and `.preinit_array`, `_init`
//! and `.fini_array`, in which nothing of these commands stands: they end by `exit`, which runs what was registered. They are internal, so only the versions in [`KNOWN`] are started this way:
//! there the sequence was read and tried. Any other, a dynamic executable, and a privileged start (AT_SECURE) take the ordinary way. Until
//! [`begin`] is through nothing here may use thread-local storage, and until IFUNCs are resolved nothing may become a call of memcpy or strlen.
//!
//! Reference: glibc 2.36 csu/libc-start.c, sysdeps/x86/cacheinfo.h; psABI for x86-64, 3.4.1 (the stack at the entry).

use std::ffi::{c_char, c_int, c_long};

use super::protect;

/// glibc's versions whose start is known to be the one below.
const KNOWN: [&[u8]; 1] = [b"2.36"];

/// The name of the link, and the first argument, of commands that begin here.
const LINK: &[u8] = b"keelson-oci";
const ARGUMENT: &[u8] = b"oci";

const R_X86_64_IRELATIVE: u64 = 37;
const AT_NULL: usize = 0;
const AT_SECURE: usize = 23;

/// What glibc's own tables say where nothing is known of the caches: three quarters of a mebibyte.
const NON_TEMPORAL_BYTES: c_long = 0xc_0000;

// Weak, because another C library, or a dynamic one, does not have them all: a missing one is null. `main` is always there, and may
// come to stand in the same object as this (in this crate's own tests, or with link-time optimization): a weak one could not.
std::arch::global_asm!(
    ".globl keelson_entry",
    ".type keelson_entry, @function",
    "keelson_entry:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    // What a dynamic loader passes to `_start`; and the stack stays aligned.
    "push rdx",
    "push rdx",
    "call {begin}",
    "pop rdx",
    "pop rdx",
    "jmp _start",
    ".size keelson_entry, . - keelson_entry",
    ".weak __environ",
    ".weak __libc_stack_end",
    ".weak _dl_random",
    ".weak _dl_aux_init",
    ".weak _dl_sysinfo_dso",
    ".weak __libc_setup_tls",
    ".weak __libc_early_init",
    ".weak __libc_init_first",
    ".weak __x86_shared_non_temporal_threshold",
    ".weak __x86_rep_movsb_stop_threshold",
    ".weak __rela_iplt_start",
    ".weak __rela_iplt_end",
    ".weak __init_array_start",
    ".weak __init_array_end",
    ".section .data.rel.ro.keelson_start, \"aw\", @progbits",
    ".balign 8",
    ".globl keelson_start_parts",
    ".hidden keelson_start_parts",
    "keelson_start_parts:",
    ".quad __environ",
    ".quad __libc_stack_end",
    ".quad _dl_random",
    ".quad _dl_aux_init",
    ".quad _dl_sysinfo_dso",
    ".quad __libc_setup_tls",
    ".quad __libc_early_init",
    ".quad __libc_init_first",
    ".quad __x86_shared_non_temporal_threshold",
    ".quad __x86_rep_movsb_stop_threshold",
    ".quad __rela_iplt_start",
    ".quad __rela_iplt_end",
    ".quad __init_array_start",
    ".quad __init_array_end",
    ".quad main",
    ".text",
    begin = sym begin,
);

/// The table above.
#[repr(C)]
struct Parts {
    environment: *mut Strings,
    stack_end: *mut *const usize,
    random: *const *const [usize; 2],
    aux_init: Option<unsafe extern "C" fn(*const [usize; 2])>,
    vdso: *mut *const (),
    setup_tls: Option<unsafe extern "C" fn()>,
    early_init: Option<unsafe extern "C" fn(bool)>,
    init_first: Option<unsafe extern "C" fn(c_int, Strings, Strings)>,
    non_temporal: *mut c_long,
    movsb_stop: *mut c_long,
    ifuncs: *const Relocation,
    ifuncs_end: *const Relocation,
    constructors: *const Constructor,
    constructors_end: *const Constructor,
    main: unsafe extern "C" fn(c_int, Strings, Strings) -> c_int,
}

pub(super) type Strings = *const *const c_char;
type Constructor = unsafe extern "C" fn(c_int, Strings, Strings);

#[repr(C)]
struct Relocation {
    place: *mut usize,
    kind: u64,
    resolver: unsafe extern "C" fn() -> usize,
}

unsafe extern "C" {
    static keelson_start_parts: Parts;
    fn gnu_get_libc_version() -> *const c_char;
}

/// Returns when the ordinary start is to go on.
///
/// # Safety
/// `stack` is the stack pointer at the process's first instruction.
unsafe extern "C" fn begin(stack: *const usize) {
    // SAFETY: the kernel has put there a count, that many strings and a null pointer, the environment and a null pointer, and
    // pairs up to AT_NULL. What is called and written is the C library's own, by its own names; see the module's invariants.
    unsafe {
        let count = *stack;
        let arguments: Strings = stack.add(1).cast();
        if !is_for_us(count, arguments) || !is_known(gnu_get_libc_version()) {
            return;
        }
        let environment = arguments.add(count + 1);
        let mut end = environment;
        while !end.read_volatile().is_null() {
            end = end.add(1);
        }
        let auxiliary: *const [usize; 2] = end.add(1).cast();
        let parts = &keelson_start_parts;
        let (Some(aux_init), Some(setup_tls), Some(early_init), Some(init_first)) =
            (parts.aux_init, parts.setup_tls, parts.early_init, parts.init_first)
        else {
            return;
        };
        let written: [*const (); 6] = [
            parts.environment.cast(),
            parts.stack_end.cast(),
            parts.random.cast(),
            parts.vdso.cast(),
            parts.non_temporal.cast(),
            parts.movsb_stop.cast(),
        ];
        if written.iter().any(|place| place.is_null()) || is_privileged(auxiliary) {
            return;
        }
        // First, because from here on anything may become a call of memcpy.
        let mut ifunc = parts.ifuncs;
        while ifunc < parts.ifuncs_end {
            if (*ifunc).kind & 0xffff_ffff == R_X86_64_IRELATIVE {
                *(*ifunc).place = ((*ifunc).resolver)();
            }
            ifunc = ifunc.add(1);
        }
        *parts.non_temporal = NON_TEMPORAL_BYTES;
        *parts.movsb_stop = NON_TEMPORAL_BYTES;
        protect::become_protected(count, arguments, environment);
        *parts.environment = environment;
        *parts.stack_end = stack;
        aux_init(auxiliary);
        // Five functions would be looked up in the kernel's own library for the one or two times that such a command asks for the time.
        *parts.vdso = std::ptr::null();
        setup_tls();
        set_guards((*parts.random).read_unaligned());
        early_init(true);
        init_first(count as c_int, arguments, environment);
        let mut constructor = parts.constructors;
        while constructor < parts.constructors_end {
            (*constructor)(count as c_int, arguments, environment);
            constructor = constructor.add(1);
        }
        // One of them was `before_main`'s, which has ended the process if it thinks of its arguments as this does.
        libc::exit((parts.main)(count as c_int, arguments, environment));
    }
}

/// Where the executable lies, for `$ORIGIN` in the names of libraries that it loads: a static one loads none, and asking the kernel
/// costs as much as all else that the C library's start does. glibc takes this one instead of its own, also at the ordinary start.
#[unsafe(no_mangle)]
extern "C" fn _dl_get_origin() -> *const c_char {
    /// What glibc's says when it does not know.
    const UNKNOWN: *const c_char = std::ptr::without_provenance(usize::MAX);
    UNKNOWN
}

/// The stack's canary, whose first byte is a null, and what saved jump targets are mixed with: where compilers and glibc look.
///
/// # Safety
/// Thread-local storage is set up, and no function that checks its canary has begun.
unsafe fn set_guards(random: [usize; 2]) {
    // SAFETY: both words are of the thread control block, laid out by the ABI.
    unsafe {
        std::arch::asm!(
            "mov fs:[0x28], {canary}",
            "mov fs:[0x30], {pointer}",
            canary = in(reg) random[0] & !0xff,
            pointer = in(reg) random[1],
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// `arguments` are `count` strings.
unsafe fn is_for_us(count: usize, arguments: Strings) -> bool {
    // SAFETY: within the count.
    unsafe { (count > 0 && ends_in(*arguments, LINK)) || (count > 1 && is(*arguments.add(1), ARGUMENT)) }
}

/// # Safety
/// `version` is a string.
unsafe fn is_known(version: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    KNOWN.iter().any(|known| unsafe { is(version, known) })
}

/// # Safety
/// `auxiliary` is the auxiliary vector.
unsafe fn is_privileged(mut auxiliary: *const [usize; 2]) -> bool {
    // SAFETY: pairs up to the one of AT_NULL.
    unsafe {
        while (*auxiliary)[0] != AT_NULL {
            if (*auxiliary)[0] == AT_SECURE && (*auxiliary)[1] != 0 {
                return true;
            }
            auxiliary = auxiliary.add(1);
        }
    }
    false
}

/// Whether the last component of a path is the name.
///
/// # Safety
/// `path` is a string.
unsafe fn ends_in(path: *const c_char, name: &[u8]) -> bool {
    let (mut at, mut component) = (path, path);
    // SAFETY: up to the null byte; read one by one, so that it does not become strlen, which is not there yet.
    unsafe {
        loop {
            match at.read_volatile() as u8 {
                0 => return is(component, name),
                b'/' => component = at.add(1),
                _ => {}
            }
            at = at.add(1);
        }
    }
}

/// # Safety
/// `string` is a string.
pub(super) unsafe fn is(string: *const c_char, expected: &[u8]) -> bool {
    let mut at = string;
    for byte in expected {
        // SAFETY: no byte before was the null byte, as none of the expected ones is.
        unsafe {
            if at.read_volatile() as u8 != *byte {
                return false;
            }
            at = at.add(1);
        }
    }
    // SAFETY: as above.
    unsafe { at.read_volatile() == 0 }
}
