//! Where messages go: errors to stderr for people, and all of them to the log file in the form that containerd's
//! shim reads (logrus').
//!
//! It is a subscriber of `tracing`, so that warnings from below (a failed hook) arrive too.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

#[derive(Clone)]
pub(super) struct Log {
    file: Option<PathBuf>,
    json: bool,
    most: Level,
}

impl Log {
    pub(super) fn new(file: Option<PathBuf>, format: &str, debug: bool) -> Log {
        Log { file, json: format == "json", most: if debug { Level::DEBUG } else { Level::INFO } }
    }

    /// From here on the process's messages come here.
    pub(super) fn install(&self) {
        // A second one would be a mistake of ours that costs log lines only.
        let _already = tracing::subscriber::set_global_default(self.clone());
    }

    pub(super) fn error(&self, error: &dyn Error) {
        let message = chain(error);
        if self.file.is_some() || !self.json {
            eprintln!("{message}");
        }
        if self.file.is_some() || self.json {
            self.line("error", &message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        let now = jiff::Timestamp::now();
        let time = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        let line = if self.json {
            serde_json::json!({ "level": level, "msg": message, "time": time.to_string() }).to_string()
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}")
        };
        let Some(path) = &self.file else {
            eprintln!("{line}");
            return;
        };
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
            eprintln!("log `{}`: {error}", path.display());
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        self.line(level, &format!("{}{}", words.message, words.fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event as one line.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let _ = write!(self.fields, " {}={:?}", field.name(), chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
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
