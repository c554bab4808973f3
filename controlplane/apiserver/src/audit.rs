//! Audit: who asked what and what came of it, as events in a file.
//!
//! ```text
//!   request ─► Policy: first rule that matches ─► Trail (level, stages) ─► events ─► bounded queue ─► one thread ─► file
//! ```
//!
//! Without a policy nothing here runs: a request carries an empty [`Trail`]. A full queue loses events and counts them
//! (`apiserver_audit_error_total`): a slow disk slows no request down. There is no webhook backend.
//!
//! Reference: Kubernetes "Auditing", audit.k8s.io/v1.

mod log;
mod policy;
mod trail;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use log::{LogOptions, Rotation};
pub use policy::Policy;
pub use trail::{Asked, OBJECT_BYTES_MAX, Trail};

use crate::configuration_file::ConfigurationError;
use log::Log;
use policy::Level;

/// What is audited, and where it is written.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The policy's file.
    pub policy: PathBuf,
    /// Where events go.
    pub log: LogOptions,
}

/// Why nothing can be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy.
    #[error("audit policy {}: {source}", path.display())]
    Policy {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigurationError,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A running audit.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    log: Log,
    /// Events since the start.
    events: AtomicU64,
}

impl Audit {
    /// Reads the policy and opens the log.
    pub fn start(options: AuditOptions) -> Result<Arc<Audit>, AuditError> {
        let path = options.policy;
        let text =
            std::fs::read_to_string(&path).map_err(|source| AuditError::Io { path: path.clone(), source })?;
        let policy = Policy::parse(&text).map_err(|source| AuditError::Policy { path, source })?;
        let path = options.log.path.clone();
        let log = Log::start(options.log).map_err(|source| AuditError::Io { path, source })?;
        Ok(Arc::new(Audit { policy, log, events: AtomicU64::new(0) }))
    }

    /// Begins the trail of a request, where the policy wants one.
    pub fn begin(self: &Arc<Audit>, asked: &Asked<'_>) -> Trail {
        let verdict = self.policy.judge(asked.user, asked.info);
        if verdict.level == Level::None {
            Trail::default()
        } else {
            Trail::begin(self.clone(), verdict, asked)
        }
    }

    /// Events since the start, and how many of them were lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.events.load(Ordering::Relaxed), self.log.lost())
    }

    fn tell(&self, event: String) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.log.write(event);
    }
}
