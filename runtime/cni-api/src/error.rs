//! The error object that a plugin prints, and its codes.

use std::fmt;

use serde_json::{Value, json};

use crate::field::{self, Maybe as _};
use crate::{Field, Misfit};

/// Codes of the specification. Plugins have 100 and above for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    IncompatibleVersion = 1,
    /// A field of the configuration asks for something the plugin does not do.
    UnsupportedField = 2,
    /// The container is unknown or gone: the runtime need not clean up.
    UnknownContainer = 3,
    /// A CNI_ variable is missing or wrong.
    InvalidEnvironment = 4,
    Io = 5,
    /// The input is not what JSON or the specification allow.
    Decode = 6,
    /// The configuration is well formed and makes no sense.
    InvalidConfig = 7,
    TryAgainLater = 11,
    /// STATUS: cannot serve ADD.
    NotAvailable = 50,
    /// STATUS: cannot serve ADD, and running containers may have lost connectivity.
    LimitedConnectivity = 51,
}

/// What went wrong, in the shape that the runtime reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CniError {
    pub code: u32,
    /// One sentence.
    pub msg: String,
    /// What else helps to act; may be empty.
    pub details: String,
}

impl CniError {
    pub fn new(code: Code, msg: impl Into<String>) -> CniError {
        CniError::with_code(code as u32, msg)
    }

    /// For a plugin's own codes, 100 and above.
    pub fn with_code(code: u32, msg: impl Into<String>) -> CniError {
        CniError { code, msg: msg.into(), details: String::new() }
    }

    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> CniError {
        self.details = details.into();
        self
    }

    /// The object for stdout, in the caller's version.
    #[must_use]
    pub fn to_json(&self, version: &str) -> Value {
        let mut object = json!({"cniVersion": version, "code": self.code, "msg": self.msg});
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object
    }

    /// Reads what a plugin printed when it failed.
    pub fn parse(output: &[u8]) -> Result<CniError, Misfit> {
        let value = field::document(output)?;
        let root = Field::root(&value);
        let text = |name: &str| root.get(name).and_read(|f| f.text().map(str::to_owned));
        Ok(CniError {
            code: root.need("code", "the number of an error")?.number()?,
            msg: text("msg")?.unwrap_or_default(),
            details: text("details")?.unwrap_or_default(),
        })
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.msg, self.code)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl From<Misfit> for CniError {
    fn from(misfit: Misfit) -> CniError {
        let code = if matches!(misfit, Misfit::NotJson(_)) { Code::Decode } else { Code::InvalidConfig };
        CniError::new(code, misfit.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_its_way() {
        let error = CniError::new(Code::InvalidConfig, "subnet is wrong").details("10.0.0.0/99");
        let printed = error.to_json("1.0.0");
        assert_eq!(printed["cniVersion"], "1.0.0");
        assert_eq!(CniError::parse(printed.to_string().as_bytes()).unwrap(), error);
        assert!(CniError::parse(b"panic: oops").is_err());
    }
}
