//! Why a layer was not unpacked, and at which entry.

use std::fmt;
use std::io;

use crate::digest::Digest;

/// What went wrong, and where.
#[derive(Debug)]
pub struct LayerError {
    /// The entry as the archive names it; none before the first and after the last.
    pub entry: Option<String>,
    pub fault: Fault,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No honest layer holds this, or it is more than a limit allows.
    #[error("refused: {0}")]
    Refused(String),
    #[error("no space left on the disk")]
    NoSpace,
    /// Not the compressed tar archive it should be.
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("content is {got}, wanted {wanted}")]
    Digest { wanted: Digest, got: Digest },
    #[error("unpacked content is {got}, the image configuration wants {wanted}")]
    DiffId { wanted: Digest, got: Digest },
    #[error("{got} bytes where the manifest says {wanted}")]
    Size { wanted: u64, got: u64 },
    #[error("{step}")]
    Io {
        step: &'static str,
        #[source]
        source: io::Error,
    },
}

// === impl LayerError ===

impl LayerError {
    pub fn nowhere(fault: Fault) -> LayerError {
        LayerError { entry: None, fault }
    }
}

impl fmt::Display for LayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.entry {
            write!(f, "entry {entry:?}: ")?;
        }
        self.fault.fmt(f)
    }
}

impl std::error::Error for LayerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.fault)
    }
}

// === impl Fault ===

impl Fault {
    pub fn refused(reason: impl Into<String>) -> Fault {
        Fault::Refused(reason.into())
    }

    /// A system call on the layer's directory failed.
    pub fn at(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Fault {
        move |errno| Fault::write(step, errno.into())
    }

    /// Writing failed; a full disk is told apart.
    pub fn write(step: &'static str, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::NoSpace,
            _ => Fault::Io { step, source: error },
        }
    }

    /// Reading failed: a fault of one of our own readers comes back out, everything else is damage.
    pub fn read(error: io::Error) -> Fault {
        if error.get_ref().is_some_and(|inner| inner.is::<Fault>()) {
            let inner = error.into_inner().and_then(|inner| inner.downcast::<Fault>().ok());
            return inner.map_or_else(|| Fault::Damaged(String::new()), |fault| *fault);
        }
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                Fault::Damaged(error.to_string())
            }
            _ if error.raw_os_error().is_none() => Fault::Damaged(error.to_string()),
            _ => Fault::Io { step: "reading the layer", source: error },
        }
    }

    /// To pass through readers that know only `io::Error`.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}
