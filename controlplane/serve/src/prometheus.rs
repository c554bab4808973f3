//! Prometheus' text format, and a histogram that counts without a lock.
//!
//! Not here: a registry. A part has few figures and renders them itself when it is asked.
//!
//! Reference: Prometheus' exposition format 0.0.4.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The media type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";
/// Seconds: upstream's bounds for kube-proxy's work, a millisecond to sixteen seconds.
const BOUNDS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

/// The text as it grows.
#[derive(Debug, Default)]
pub struct Text(String);

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By the bound that is not exceeded; the last has none.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

// === impl Text ===

impl Text {
    /// Says what the samples that follow are.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family of one histogram, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let (bucket, mut count) = (format!("{name}_bucket"), 0);
        for (at, cell) in histogram.counts.iter().enumerate() {
            count += cell.load(Ordering::Relaxed);
            let bound = BOUNDS.get(at).map_or("+Inf".to_owned(), ToString::to_string);
            self.sample(&bucket, &[("le", &bound)], count);
        }
        let nanoseconds = histogram.nanoseconds.load(Ordering::Relaxed);
        self.sample(&format!("{name}_sum"), &[], nanoseconds as f64 / 1e9);
        self.sample(&format!("{name}_count"), &[], count);
    }

    /// What is to be answered.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

// === impl Histogram ===

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_labels_are_quoted() {
        let histogram = Histogram::default();
        for milliseconds in [1, 3, 20_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut text = Text::default();
        text.histogram("h", "how long", &histogram);
        text.family("a", "gauge", "what a is");
        text.sample("a", &[("x", "q\"\\\n")], 1.5);
        let text = text.finish();
        for line in [
            "# TYPE h histogram\n",
            "h_bucket{le=\"0.001\"} 1\n",
            "h_bucket{le=\"0.004\"} 2\n",
            "h_bucket{le=\"16.384\"} 2\n",
            "h_bucket{le=\"+Inf\"} 3\n",
            "h_sum 20.004\n",
            "h_count 3\n",
            "a{x=\"q\\\"\\\\\\n\"} 1.5\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
