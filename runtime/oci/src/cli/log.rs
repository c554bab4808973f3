//! Where errors go: to stderr for people, and to the log file in the form that containerd's shim reads.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

pub(super) struct Log {
    file: Option<PathBuf>,
    json: bool,
}

impl Log {
    pub(super) fn new(file: Option<PathBuf>, format: &str) -> Log {
        Log { file, json: format == "json" }
    }

    pub(super) fn error(&self, error: &dyn Error) {
        let message = chain(error);
        eprintln!("{message}");
        let Some(path) = &self.file else { return };
        let time = jiff::Timestamp::now().to_string();
        let line = if self.json {
            serde_json::json!({ "level": "error", "msg": message, "time": time }).to_string()
        } else {
            format!("time=\"{time}\" level=error msg={message:?}")
        };
        let written = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"));
        if let Err(error) = written {
            eprintln!("log `{}`: {error}", path.display());
        }
    }
}

/// An error with its causes, outermost first.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        // Transparent errors repeat their cause; once is enough.
        if !text.ends_with(&words) {
            let _ = write!(text, ": {words}");
        }
        source = cause.source();
    }
    text
}
