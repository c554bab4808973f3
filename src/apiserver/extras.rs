//! Flags of the API that `keelson server` takes too: what the API is besides a place for objects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apiserver::{AuditOptions, LogOptions, Rotation};
use clap::Args;

use crate::node::{flag, shown};

/// Flags that are handed on as they are.
#[derive(Clone, Debug, Args)]
pub struct Extras {
    /// Which resources are stored with which keys (EncryptionConfiguration), read again when it changes; secrets with a key of their own by default.
    #[arg(long, value_name = "FILE", env = "KEELSON_ENCRYPTION_PROVIDER_CONFIG")]
    encryption_provider_config: Option<PathBuf>,
    /// What is told of which requests (audit.k8s.io/v1, Policy); without it nothing is audited.
    #[arg(long, value_name = "FILE", requires = "audit_log_path", env = "KEELSON_AUDIT_POLICY_FILE")]
    audit_policy_file: Option<PathBuf>,
    /// File of audit events; - is standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file", env = "KEELSON_AUDIT_LOG_PATH")]
    audit_log_path: Option<PathBuf>,
    /// Days that older files of audit events are kept; 0 keeps them.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    audit_log_maxage: u64,
    /// Older files of audit events that are kept; 0 keeps all.
    #[arg(long, value_name = "FILES", default_value_t = 0)]
    audit_log_maxbackup: usize,
    /// Megabytes of a file of audit events before a new one begins; 0 is 100.
    #[arg(long, value_name = "MB", default_value_t = 0)]
    audit_log_maxsize: u64,
    /// Seconds until a request's answer must have begun, and as many again until it must have been read; streams have no such limit.
    #[arg(long, value_name = "SECONDS", default_value_t = apiserver::REQUEST_TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(1..), env = "KEELSON_REQUEST_TIMEOUT_SECONDS")]
    request_timeout_seconds: u64,
}

impl Extras {
    /// The file of encryption keys.
    pub fn encryption(&self, data_dir: &Path) -> PathBuf {
        let own = || data_dir.join("pki").join(pki::ENCRYPTION_FILE);
        self.encryption_provider_config.clone().unwrap_or_else(own)
    }

    /// What a request is allotted.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// What is audited.
    pub fn audit(&self) -> Option<AuditOptions> {
        let rotation = Rotation {
            max_size: self.audit_log_maxsize,
            max_backup: self.audit_log_maxbackup,
            max_age: self.audit_log_maxage,
        };
        let path = self.audit_log_path.clone()?;
        Some(AuditOptions { policy: self.audit_policy_file.clone()?, log: LogOptions { path, rotation } })
    }

    /// The flags as somebody would type them.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for (name, file) in [
            ("encryption-provider-config", &self.encryption_provider_config),
            ("audit-policy-file", &self.audit_policy_file),
            ("audit-log-path", &self.audit_log_path),
        ] {
            flags.extend(file.as_ref().map(|file| flag(name, shown(file))));
        }
        flags.push(flag("audit-log-maxage", self.audit_log_maxage));
        flags.push(flag("audit-log-maxbackup", self.audit_log_maxbackup));
        flags.push(flag("audit-log-maxsize", self.audit_log_maxsize));
        flags.push(flag("request-timeout-seconds", self.request_timeout_seconds));
        flags
    }
}
