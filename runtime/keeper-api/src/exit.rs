//! How a process ended.

use serde::{Deserialize, Serialize};

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How.
    pub status: Status,
    /// When it was noticed: nanoseconds since the epoch.
    pub at_nanoseconds: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// By exit(2) with this code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// It is gone and nobody who held its pidfd saw how.
    Unknown,
}

/// What stands for an exit that nobody saw.
const UNKNOWN_CODE: i32 = 255;
/// A shell's way to tell a signal in an exit code.
const SIGNAL_BASE: i32 = 128;

impl Status {
    /// The code as shells and the CRI tell it: 128 + n for a signal, 255 for an unknown end.
    pub fn code(self) -> i32 {
        match self {
            Status::Exited(code) => i32::from(code),
            Status::Signalled(signal) => SIGNAL_BASE + i32::from(signal),
            Status::Unknown => UNKNOWN_CODE,
        }
    }

    /// Reads the status word of wait(2), which PIDFD_GET_INFO and /proc/PID/stat give too.
    pub fn from_wait(word: i32) -> Status {
        let signal = (word & 0x7f) as u8;
        if signal == 0 { Status::Exited((word >> 8 & 0xff) as u8) } else { Status::Signalled(signal) }
    }
}

impl Exit {
    /// The code as the CRI tells it.
    pub fn code(&self) -> i32 {
        self.status.code()
    }

    /// Whether somebody saw the end.
    pub fn known(&self) -> bool {
        self.status != Status::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_words() {
        for (word, status, code) in [
            (0, Status::Exited(0), 0),
            (0x2a00, Status::Exited(42), 42),
            (0xff00, Status::Exited(255), 255),
            (9, Status::Signalled(9), 137),
            (0x80 | 11, Status::Signalled(11), 139),
        ] {
            assert_eq!(Status::from_wait(word), status, "{word:#x}");
            assert_eq!(status.code(), code, "{word:#x}");
        }
    }
}
