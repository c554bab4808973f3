//! Samples of both servers, and the rows that are made of them.

/// Of one thing that both do.
#[derive(Default)]
pub struct Samples {
    pub ours: Vec<f64>,
    pub peer: Vec<f64>,
}

impl Samples {
    pub fn push(&mut self, server: &super::peers::Server, value: f64) {
        match server.kind {
            super::peers::Kind::Keelson => self.ours.push(value),
            super::peers::Kind::Containerd => self.peer.push(value),
        }
    }

    /// Medians, minima, and the ratios of both.
    pub fn row(&self, name: &str, unit: &str) {
        let ((median, least), (its_median, its_least)) =
            (middle_and_least(&self.ours), middle_and_least(&self.peer));
        println!(
            "| {name} | {} / {} {unit} | {} / {} {unit} | {:.3} | {:.3} | {} |",
            short(median),
            short(least),
            short(its_median),
            short(its_least),
            median / its_median,
            least / its_least,
            self.ours.len(),
        );
    }
}

/// The head of a table of such rows.
pub fn head(what: &str) {
    println!("\n{what}\n");
    println!("| | keelson: median / least | containerd: median / least | ratio of medians | of least | N |");
    println!("|---|---|---|---|---|---|");
}

pub fn median(values: &[f64]) -> f64 {
    middle_and_least(values).0
}

fn middle_and_least(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0])
}

pub fn megabytes(kilobytes: u64) -> String {
    format!("{:.1}", kilobytes as f64 / 1024.0)
}

fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
