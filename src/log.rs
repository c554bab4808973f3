//! Logs of the long-running parts: one line per event on stderr, as logfmt or as JSON.
//!
//! Fields keep their names everywhere: pod, ns, uid, container, sandbox, node, rv, trace_id. Nothing
//! that is a secret is a printable type, so nothing here has to hide it.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Installs the process's logger. `KEELSON_LOG` filters (`info`, `debug`, `image=trace`),
/// `KEELSON_LOG_FORMAT=json` switches the format.
pub fn install() {
    let mut wanted = std::env::var("KEELSON_LOG").unwrap_or_else(|_| "info".into());
    if !wanted.contains("openraft") {
        // Its `info` is for who works on it; what users need, the store says itself.
        wanted.push_str(",openraft=error");
    }
    let filter = tracing_subscriber::EnvFilter::try_new(wanted)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,openraft=error"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if std::env::var_os("KEELSON_LOG_FORMAT").is_some_and(|format| format == "json") {
        lines.json().flatten_event(true).init();
    } else {
        lines.event_format(Logfmt).fmt_fields(LogfmtFields).init();
    }
}

/// `ts=... level=info msg="..." key=value`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let now = std::time::SystemTime::now();
        write!(writer, "ts={} level={level} part={}", Timestamp(now), event.metadata().target())?;
        event.record(&mut Pairs { writer: &mut writer, result: Ok(()) });
        if let Some(scope) = context.event_scope() {
            for span in scope {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                    && !fields.is_empty()
                {
                    write!(writer, " {}", fields.trim_start())?;
                }
            }
        }
        writeln!(writer)
    }
}

struct LogfmtFields;

impl<'w> FormatFields<'w> for LogfmtFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'w>,
        fields: R,
    ) -> fmt::Result {
        let mut pairs = Pairs { writer: &mut writer, result: Ok(()) };
        fields.record(&mut pairs);
        pairs.result
    }
}

struct Pairs<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for Pairs<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=' && b != b'\\');
        let key = if field.name() == "message" { "msg" } else { field.name() };
        self.result = self.result.and_then(|()| {
            if plain {
                write!(self.writer, " {key}={value}")
            } else {
                write!(self.writer, " {key}={value:?}")
            }
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// RFC 3339 in UTC with milliseconds.
struct Timestamp(std::time::SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        match jiff::Timestamp::from_millisecond(since.as_millis().try_into().unwrap_or(i64::MAX)) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "-"),
        }
    }
}
