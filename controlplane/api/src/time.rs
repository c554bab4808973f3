//! Times as the API writes them: RFC 3339 in UTC, whole seconds (`metav1.Time`) or microseconds (`metav1.MicroTime`).
//!
//! Not a clock: the current time is an argument wherever one is needed.

use jiff::Timestamp;

use crate::field::quote;

/// Canonical text of a `metav1.Time`.
pub fn seconds(text: &str) -> Result<String, String> {
    parse(text, "2006-01-02T15:04:05Z07:00").map(format_seconds)
}

/// Canonical text of a `metav1.MicroTime`.
pub fn micros(text: &str) -> Result<String, String> {
    parse(text, "2006-01-02T15:04:05.000000Z07:00").map(format_micros)
}

pub fn format_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn format_micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Seconds and nanoseconds since 1970 of a canonical text.
pub fn parts(text: &str) -> Option<(i64, i32)> {
    let time: Timestamp = text.parse().ok()?;
    // protobuf's nanoseconds count forward, also before 1970.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    Some(if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) })
}

fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        let (text, year) = (quote(text), quote("2006"));
        format!("parsing time {text} as {}: cannot parse {text} as {year}", quote(layout))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        assert_eq!(seconds("2024-01-02T03:04:05+01:00"), Ok("2024-01-02T02:04:05Z".into()));
        assert_eq!(seconds("2024-01-02T03:04:05.9Z"), Ok("2024-01-02T03:04:05Z".into()));
        assert_eq!(micros("2024-01-02T03:04:05.123456789Z"), Ok("2024-01-02T03:04:05.123456Z".into()));
        let error = seconds("x").unwrap_err();
        assert_eq!(
            error,
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""
        );
        assert_eq!(parts("1969-12-31T23:59:59.5Z"), Some((-1, 500_000_000)));
    }
}
