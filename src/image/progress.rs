//! A bar for each layer, on a terminal: lines that are drawn over again.

use cri_api::images_v1::{Layer, State};

use super::table::bytes;

const WIDTH: u64 = 30;
/// Hexadecimal digits of a digest that are shown.
const DIGITS: usize = 12;

/// What was drawn so far.
#[derive(Default)]
pub struct Bars {
    lines: usize,
}

// === impl Bars ===

impl Bars {
    pub fn draw(&mut self, layers: &[Layer]) {
        // Back to the first line; each line is cleared before it is written anew.
        let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        let text: String = layers.iter().map(|layer| format!("\x1b[2K{}\n", line(layer))).collect();
        eprint!("{up}{text}");
        self.lines = layers.len();
    }
}

fn line(layer: &Layer) -> String {
    let digest = layer.digest.split_once(':').map_or(layer.digest.as_str(), |(_, hex)| hex);
    let digest: String = digest.chars().take(DIGITS).collect();
    match layer.state() {
        State::Waiting => format!("{digest:<DIGITS$}  waiting"),
        State::Present => format!("{digest:<DIGITS$}  already there"),
        State::Done => format!("{digest:<DIGITS$}  done            {}", bytes(layer.size)),
        State::Running => {
            let full = (layer.done.min(layer.size) * WIDTH).checked_div(layer.size).unwrap_or(0) as usize;
            let bar = format!("{}{}", "=".repeat(full), " ".repeat(WIDTH as usize - full));
            format!("{digest:<DIGITS$}  [{bar}]  {} of {}", bytes(layer.done), bytes(layer.size))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_their_layers() {
        let layer = |state: State, done, size| Layer {
            digest: "sha256:0123456789abcdef".into(),
            size,
            done,
            state: state.into(),
        };
        let check = |layer: Layer, expect: &str| assert_eq!(line(&layer), expect);
        check(layer(State::Waiting, 0, 10), "0123456789ab  waiting");
        check(layer(State::Running, 0, 0), &format!("0123456789ab  [{}]  0B of 0B", " ".repeat(30)));
        let half = format!("0123456789ab  [{}{}]  1.00MB of 2.00MB", "=".repeat(15), " ".repeat(15));
        check(layer(State::Running, 1_000_000, 2_000_000), &half);
        check(layer(State::Done, 5, 5), "0123456789ab  done            5B");
    }
}
