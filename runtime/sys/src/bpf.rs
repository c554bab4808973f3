//! The little of bpf(2) that device control needs: load a program, attach it to a cgroup, see what is attached.
//!
//! Anything with maps, sections or relocations belongs to the loader of the datapath, not here.
//!
//! Reference: bpf(2), include/uapi/linux/bpf.h, Documentation/bpf/prog_cgroup_*.rst.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Programs one cgroup can have attached (BPF_CGROUP_MAX_PROGS).
const MAX_ATTACHED: usize = 64;
/// Asked for only after a refusal, to say why.
const LOG_BYTES: usize = 64 * 1024;
/// How many bytes of the verifier's last words an error carries.
const LOG_TAIL: usize = 400;
const NAME_BYTES: usize = 16;

/// One eBPF instruction, laid out as the kernel's `bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Low nibble destination, high nibble source.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    #[error("the kernel refused a BPF program of {instructions} instructions: {log}")]
    Load { instructions: usize, log: String, source: io::Error },
    #[error("cannot {action} a BPF device program")]
    Cgroup { action: &'static str, source: io::Error },
}

/// A loaded program; it lives while a descriptor or an attachment holds it.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A program found on a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub id: u32,
    pub name: String,
}

impl Program {
    /// Loads a device program. `name` shows in `bpftool prog`; 15 bytes of it are kept.
    pub fn load_device(name: &str, program: &[Instruction]) -> Result<Program, BpfError> {
        match load(name, program, &mut []) {
            Ok(fd) => Ok(Program { fd }),
            Err(source) => {
                let mut log = vec![0; LOG_BYTES];
                let _ = load(name, program, &mut log);
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                let tail = &log[end.saturating_sub(LOG_TAIL)..end];
                let log = String::from_utf8_lossy(tail).trim().to_owned();
                Err(BpfError::Load { instructions: program.len(), log, source })
            }
        }
    }

    /// Attaches to a cgroup2 directory, beside others, or in the place of `old`: without a moment of neither.
    pub fn attach_device(&self, cgroup: BorrowedFd<'_>, old: Option<&Program>) -> Result<(), BpfError> {
        let mut attr = AttachAttr {
            target_fd: cgroup.as_raw_fd() as u32,
            program_fd: self.fd.as_raw_fd() as u32,
            attach_type: ATTACH_CGROUP_DEVICE,
            flags: ALLOW_MULTI,
            replace_fd: 0,
        };
        if let Some(old) = old {
            attr.flags |= REPLACE;
            attr.replace_fd = old.fd.as_raw_fd() as u32;
        }
        bpf(PROG_ATTACH, &mut attr).map(drop).map_err(|source| BpfError::Cgroup { action: "attach", source })
    }

    /// Takes it off a cgroup2 directory.
    pub fn detach_device(&self, cgroup: BorrowedFd<'_>) -> Result<(), BpfError> {
        let mut attr = AttachAttr {
            target_fd: cgroup.as_raw_fd() as u32,
            program_fd: self.fd.as_raw_fd() as u32,
            attach_type: ATTACH_CGROUP_DEVICE,
            flags: 0,
            replace_fd: 0,
        };
        bpf(PROG_DETACH, &mut attr).map(drop).map_err(|source| BpfError::Cgroup { action: "detach", source })
    }

    /// Opens a program by the number a query gave.
    pub fn by_id(id: u32) -> Result<Program, BpfError> {
        let mut attr = IdAttr { id, next_id: 0, open_flags: 0 };
        let fd = bpf(PROG_GET_FD_BY_ID, &mut attr)
            .map_err(|source| BpfError::Cgroup { action: "open", source })?;
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
        Ok(Program { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The name it was loaded under.
    pub fn name(&self) -> Result<String, BpfError> {
        let mut info = ProgramInfo::default();
        let mut attr = InfoAttr {
            fd: self.fd.as_raw_fd() as u32,
            length: size_of::<ProgramInfo>() as u32,
            info: (&raw mut info) as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut attr)
            .map_err(|source| BpfError::Cgroup { action: "describe", source })?;
        let end = info.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
        Ok(String::from_utf8_lossy(&info.name[..end]).into_owned())
    }
}

/// The device programs attached to this very cgroup2 directory, first attached first.
pub fn attached_device(cgroup: BorrowedFd<'_>) -> Result<Vec<Attached>, BpfError> {
    let mut ids = [0_u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attr).map_err(|source| BpfError::Cgroup { action: "query", source })?;
    let found = ids.iter().take(attr.count as usize).copied();
    found.map(|id| Ok(Attached { id, name: Program::by_id(id)?.name()? })).collect()
}

// === the system call ===

#[repr(C)]
struct LoadAttr {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    program_fd: u32,
    attach_type: u32,
    flags: u32,
    replace_fd: u32,
}

#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The first fields of `bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; NAME_BYTES],
}

fn load(name: &str, program: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buffer: if log.is_empty() { 0 } else { log.as_mut_ptr() as u64 },
        kernel_version: 0,
        flags: 0,
        name: [0; NAME_BYTES],
    };
    for (slot, byte) in attr.name.iter_mut().zip(name.bytes().take(NAME_BYTES - 1)) {
        *slot = byte;
    }
    let fd = bpf(PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `attr` is one of the structures above, the one its command names.
fn bpf<T>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: every structure here starts as the kernel's union does for its command, the size tells the
    // kernel where it ends, and every address in it is of memory borrowed by the caller for longer than this call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
